"""What every test needs: nothing of the user's own is ever read or written."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

if TYPE_CHECKING:
    from collections.abc import Callable

    Promised = Callable[[str, int, str], None]

SOURCE = Path(__file__).parents[1]
SHARED = SOURCE.parent / "shared"
CACHE = "clipsearch-cache"
_PROMISE = "promise"

# What a shell starts in the background ignores Ctrl-C, and so would every program that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`pytest -m slow --reliability=docs/reliability.md` writes the table of that page."""
    parser.addoption("--reliability", type=Path, metavar="FILE", help="page whose table is written")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_Page(config))


@pytest.fixture
def promised(request: pytest.FixtureRequest) -> Promised:
    """Call it as the last line of a test: the promise that it has shown to hold, how often, and of what."""

    def note(promise: str, times: int, what: str) -> None:
        # Properties travel with the report, from the processes of pytest-xdist as well.
        request.node.user_properties.append((_PROMISE, (promise, f"{times:,} {what}")))

    return note


_TABLE = re.compile(r"(?<=<!-- table -->\n).*?(?=<!-- end -->)", re.DOTALL)


class _Page:
    """Writes what tests that passed have shown; rows of tests that did not run stay as they are."""

    def __init__(self, config: pytest.Config) -> None:
        self._page: Path | None = config.getoption("--reliability")
        self._rows: set[str] = set()
        self._run: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        test = f"`{report.nodeid.partition('[')[0]}`"
        if report.when == "call" or report.failed:
            self._run.add(test)
        if report.when == "call" and report.passed:
            shown = [value for name, value in report.user_properties if name == _PROMISE]
            self._rows |= {f"| {promise} | {test} | {times} |" for promise, times in shown}

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._page is None or hasattr(session.config, "workerinput"):
            return
        text = self._page.read_text()
        (table,) = _TABLE.findall(text)
        rows = {line for line in table.splitlines()[2:] if line.split(" | ")[1] not in self._run}
        lines = ["| promise | test | shown by |", "|---|---|---|", *sorted(rows | self._rows)]
        self._page.write_text(_TABLE.sub(lambda _: "\n".join(lines) + "\n", text))


@pytest.fixture(autouse=True)
def _own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("CLIPSEARCH_LIBRARY", str(home / "library"))
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(home / "cache"))
    monkeypatch.setenv("HF_HOME", str(home / "hub"))


@pytest.fixture(scope="session")
def shared_photos() -> Path:
    """The folder of 1,000 real photographs beside the project; skips where it is not there."""
    folder = SHARED / "photos"
    if not folder.is_dir():
        pytest.skip("needs ../shared/photos")
    return folder


@pytest.fixture(scope="session")
def builtin_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model cache in which the real built-in model is ready, for tests that run whole commands with it."""
    return _made_once(tmp_path_factory, "builtin", lambda home: _fill(home, ["builtin"])) / CACHE


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `clip` and `siglip` with random models, beside the `CACHE` in which both are ready.

    To be read, or copied.
    """
    from tiny_model import make_local_dir

    def make(home: Path) -> None:
        models = [make_local_dir(home / "clip"), make_local_dir(home / "siglip", siglip=True)]
        _fill(home, [str(model) for model in models])

    return _made_once(tmp_path_factory, "tiny", make)


def _made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that the first process to ask for it makes, for all processes of the test run."""
    shared = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    with FileLock(shared / f"{name}.lock"):
        if not (shared / name).exists():
            make(shared / name)
    return shared / name


def _fill(home: Path, models: list[str]) -> None:
    from clipsearch.encoders import open_image_encoder, registry

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPSEARCH_CACHE", str(home / CACHE))
        patch.setenv("HF_HOME", str(home / "hub"))
        for name in models:
            open_image_encoder(registry.resolve(name), device="cpu")
