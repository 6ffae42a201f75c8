"""What every test needs: nothing of the user's own is ever read or written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    Promised = Callable[[str, int, str], None]

SHARED = Path(__file__).parents[2] / "shared"
_SHOWN = pytest.StashKey[list[tuple[str, str, str]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`pytest -m slow --reliability docs/reliability.md` writes the table of that page."""
    parser.addoption("--reliability", type=Path, metavar="FILE", help="page whose table is written")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_SHOWN] = []


@pytest.fixture
def promised(request: pytest.FixtureRequest) -> Promised:
    """Call it as the last line of a test: the promise that it has shown to hold, how often, and of what."""

    def note(promise: str, times: int, what: str) -> None:
        test = request.node.nodeid.partition("[")[0]
        request.config.stash[_SHOWN].append((promise, f"`{test}`", f"{times:,} {what}"))

    return note


def pytest_sessionfinish(session: pytest.Session) -> None:
    page: Path | None = session.config.getoption("--reliability")
    if page is None:
        return
    rows = dict.fromkeys(session.config.stash[_SHOWN])
    lines = ["| promise | test | shown by |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)]
    table = "<!-- table -->\n" + "\n".join(lines) + "\n<!-- end -->"
    text = page.read_text()
    page.write_text(re.sub(r"<!-- table -->.*?<!-- end -->", lambda _: table, text, flags=re.DOTALL))


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
    """A model cache that tests of the real built-in model share: whoever comes first prepares it."""
    return tmp_path_factory.mktemp("builtin") / "clipsearch-cache"
