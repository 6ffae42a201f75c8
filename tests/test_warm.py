"""Searches that a server answers: the same as without it, to the byte, and never a reason to fail."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from mean_color import paint
from PIL import Image
from program import install

from clipsearch import Library, index_run, warm
from clipsearch.cli import main
from clipsearch.cli.idle import seconds
from clipsearch.matches import Filters, Match, Metadata, Photo, Place, Term
from clipsearch.questions import Question, match_of, plain_match, question_of
from clipsearch.warm import OFF, SOCKET_NAME
from clipsearch.web.running import Serving, listen

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = Path(__file__).with_name("program.py")
ODD = os.fsdecode("zwölf 🐕\nx".encode() + b"\xff.png")
Said = tuple[int, bytes, bytes]
Capture = pytest.CaptureFixture[bytes]


class Home(NamedTuple):
    """Photos and their library."""

    folder: Path

    @property
    def library(self) -> Path:
        return self.folder / "library"

    @property
    def socket(self) -> Path:
        return self.library / SOCKET_NAME


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A library with odd names, dates, a concept, and a folder that cannot be reached now."""
    home = Home(tmp_path_factory.mktemp("warm"))
    photos = home.folder / "photos"
    for name, color in {"red.png": (250, 0, 0), f"blü/{ODD}": (0, 0, 250), "green.png": (0, 250, 0)}.items():
        paint(photos / name, color)
    paint(home.folder / "drive/far.png", (9, 9, 9))
    paint(home.folder / "elsewhere/new red.png", (255, 10, 0))
    (home.folder / "elsewhere/broken.jpg").write_bytes(b"no picture")
    exif = Image.Exif()
    exif[0x9003] = exif[0x0132] = "2023:05:17 18:30:00"
    exif[0x010F], exif[0x0110] = "Nikon", "Nikon Z 6"
    Image.new("RGB", (30, 20), (250, 9, 9)).save(photos / "dated.jpg", exif=exif)
    with pytest.MonkeyPatch.context() as patch:
        install(patch.setattr)
        patch.setenv("CLIPSEARCH_CACHE", str(home.folder / "cache"))
        with Library.open(home.library) as library:
            library.index([photos, home.folder / "drive"])
            library.learn("rot", [photos / "red.png"])
    shutil.rmtree(home.folder / "drive")
    return home


@pytest.fixture
def home(made: Home, monkeypatch: pytest.MonkeyPatch) -> Home:
    install(monkeypatch.setattr)
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(made.folder / "cache"))
    monkeypatch.chdir(made.folder / "elsewhere")
    return made


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(PROGRAM.parents[1])}


@contextmanager
def serving(library: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A server in another folder, as a process of its own."""
    command = [sys.executable, PROGRAM, "serve", "--port", "0", "--no-open", "--library", library, *options]
    with subprocess.Popen(
        command, cwd="/", env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        try:
            assert run.stdout is not None
            assert run.stdout.readline().startswith("http://")
            wait_for(library)
            yield run
        finally:
            run.send_signal(signal.SIGCONT)
            run.terminate()


def wait_for(library: Path) -> None:
    """The socket comes a moment after the address."""
    end = time.monotonic() + 60
    while warm.ask(library, Question("newest")) is None:
        assert time.monotonic() < end
        time.sleep(0.02)


@contextmanager
def serving_here(folder: Path, *, has_socket: bool = True) -> Iterator[list[str]]:
    """A server as a thread of this process; yields what it had to tell."""
    told: list[str] = []
    end = threading.Event()
    with listen("127.0.0.1", 0) as listening, Library.open(folder) as library:
        running = Serving(library, [listening], token=None, warm=told.append)
        thread = threading.Thread(target=running.run, args=(end.is_set,))
        thread.start()
        try:
            if has_socket:
                wait_for(folder)
            yield told
        finally:
            end.set()
            thread.join()


@pytest.fixture(scope="module")
def server(made: Home) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPSEARCH_CACHE", str(made.folder / "cache"))
        with serving(made.library):
            yield


def said(capfdbinary: Capture, home: Home, *arguments: str) -> Said:
    capfdbinary.readouterr()
    code = main([*arguments, "--library", str(home.library)])
    sys.stdout.flush()
    return code, *capfdbinary.readouterr()


def cold(capfdbinary: Capture, home: Home, *arguments: str) -> Said:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(OFF, "1")
        return said(capfdbinary, home, *arguments)


def only_warm(capfdbinary: Capture, home: Home, *arguments: str) -> Said:
    """What the command says when a server answers it."""
    real = warm.ask

    def asked(*question: Any) -> dict[str, Any]:
        answer = real(*question)
        assert answer is not None
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(warm, "ask", asked)
        return said(capfdbinary, home, *arguments)


SEARCHES = [
    ["search", "red"],
    ["search", "red", "blue", "-n", "2"],
    *(["search", "red", "--format", form] for form in ("json", "jsonl", "csv", "paths")),
    ["search", "blue", "-0"],
    ["search", "2:red", "--add", "blue", "--subtract", "0.5:green"],
    ["search", "red", "--add", "new red.png", "--subtract", "../photos/green.png"],
    ["search", "./new red.png", "--format", "json"],
    ["search", "@rot"],
    ["search", "red", "--min-score", "0.9"],
    ["search", "red", "--in", "../photos/blü"],
    ["search", "red", "--glob", "*.png", "--min-size", "10", "--landscape"],
    ["search", "--on", "2023-05", "--camera", "nikon", "--format", "json"],
    ["search", "red", "--after", "2022", "--before", "2024-01-01T10:00", "--format", "json"],
    ["search", "red", "--preview"],
    ["search", "red", "--copy-to", "copies", "--dry-run"],
    ["similar", "../photos/red.png"],
    ["similar", "../photos/red.png", "--include-self", "--add", "blue"],
    ["similar", "new red.png", "--limit", "2", "--format", "json"],
    ["similar", f"../photos/blü/{ODD}"],
]
NOTHING = [
    ["search", "red", "--near", "38.7,-9.1", "--within", "20km"],
    ["search", "red", "--tag", "beach"],
    ["search", "red", "--in", "/nowhere"],
    ["search", "red", "--only-matches", "--format", "json"],
]
WRONG = [
    ["search"],
    ["search", " "],
    ["search", "0:red"],
    ["search", "red", "--subtract", "red"],
    ["search", "@nobody"],
    ["search", "red", "--add", "missing.jpg"],
    ["search", "red", "--on", "never"],
    ["similar", "broken.jpg"],
    ["similar", "missing.jpg"],
    ["similar", "~nobody/missing.jpg"],
    ["similar", "."],
    ["similar", "http://127.0.0.1:9/a.jpg"],
]


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    ("code", "command"),
    [(code, one) for code, group in enumerate((SEARCHES, NOTHING, WRONG)) for one in group],
    ids=lambda one: ascii(" ".join(one)) if isinstance(one, list) else str(one),
)
def test_a_server_answers_as_the_command_does_by_itself(
    home: Home, capfdbinary: Capture, code: int, command: list[str]
) -> None:
    by_itself = cold(capfdbinary, home, *command)
    assert by_itself[0] == code, by_itself
    assert only_warm(capfdbinary, home, *command) == by_itself
    assert only_warm(capfdbinary, home, *command) == by_itself, "and the second time"


@pytest.mark.usefixtures("server")
def test_a_warm_search_imports_nothing_heavy(home: Home) -> None:
    script = (
        "import sys; from clipsearch.cli import main; code = main(sys.argv[1:])\n"
        "heavy = {'numpy', 'torch', 'faiss', 'PIL', 'onnxruntime', 'sqlite3', 'rich.console', 'platformdirs',"
        " 'clipsearch.library', 'clipsearch.types', 'clipsearch.cli.index'} & set(sys.modules)\n"
        "print(sorted(heavy), file=sys.stderr); sys.exit(code)"
    )
    command = [sys.executable, "-c", script, "search", "@rot", "--after", "2023", "--library", home.library]
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True, check=True)
    assert "dated.jpg" in done.stdout
    assert done.stderr.splitlines()[-1] == "[]"


@pytest.mark.usefixtures("server")
def test_the_socket_is_the_users_own(home: Home) -> None:
    facts = home.socket.lstat()
    assert stat.S_ISSOCK(facts.st_mode)
    assert stat.S_IMODE(facts.st_mode) == 0o600
    assert facts.st_uid == os.geteuid()


@pytest.mark.usefixtures("server")
def test_what_is_another_thing_in_another_process_is_looked_at_here(home: Home, capfdbinary: Capture) -> None:
    with Path("new red.png").open("rb") as picture:
        command = ["similar", f"/proc/self/fd/{picture.fileno()}"]
        if not Path(command[1]).exists():
            pytest.skip("needs /proc")
        code, out, _ = said(capfdbinary, home, *command)
    assert code == 0
    assert out == said(capfdbinary, home, "similar", "new red.png")[1]


@pytest.mark.usefixtures("server")
def test_a_client_of_another_version_helps_itself(
    home: Home, capfdbinary: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_itself = cold(capfdbinary, home, "search", "red")
    monkeypatch.setattr(warm, "__version__", "0.0.1")
    assert warm.ask(home.library, Question("newest")) is None
    assert said(capfdbinary, home, "search", "red") == by_itself


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("nonsense", [b"", b"\n", b"[]\n", b"{}\n", b"\xff\n", b"no end"])
def test_nonsense_gets_no_answer_and_hurts_nobody(home: Home, nonsense: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(home.socket))
        connection.sendall(nonsense)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == b""
    assert warm.ask(home.library, Question("newest")) is not None


@pytest.fixture
def own(made: Home, home: Home, tmp_path: Path) -> Home:
    """A copy of the library, to be served or spoilt."""
    del home
    copy = Home(tmp_path)
    shutil.copytree(made.library, copy.library, ignore=shutil.ignore_patterns(SOCKET_NAME))
    return copy


def listener(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(path))
    made.listen()
    return made


def check_cold(capfdbinary: Capture, home: Home) -> None:
    """The command says what it says by itself, for no server answers."""
    by_itself = cold(capfdbinary, home, "search", "red")
    assert by_itself[0] == 0
    assert warm.ask(home.library, Question("newest")) is None
    assert said(capfdbinary, home, "search", "red") == by_itself


def test_a_killed_servers_socket_is_no_matter(own: Home, capfdbinary: Capture) -> None:
    with serving(own.library) as run:
        run.kill()
        run.wait()
        assert own.socket.is_socket()
        check_cold(capfdbinary, own)
        with serving_here(own.library):  # its socket takes that place
            assert only_warm(capfdbinary, own, "search", "red")[0] == 0
    assert not own.socket.exists(), "a server that ends takes its socket away"


def test_a_server_that_hangs_is_not_waited_for(own: Home, capfdbinary: Capture) -> None:
    with serving(own.library) as run:
        before = only_warm(capfdbinary, own, "search", "red")
        run.send_signal(signal.SIGSTOP)
        assert said(capfdbinary, own, "search", "red") == before
        run.send_signal(signal.SIGCONT)
        assert only_warm(capfdbinary, own, "search", "red") == before


@pytest.mark.parametrize("answer", [b"", b"\n\n", b"{", b"{}", b"\xff\n"], ids=ascii)
def test_an_answer_that_breaks_off_is_none(own: Home, capfdbinary: Capture, answer: bytes) -> None:
    with listener(own.socket) as made:

        def speak() -> None:
            for _ in range(2):
                connection, _ = made.accept()
                with connection:
                    connection.recv(100_000)
                    connection.sendall(answer)

        thread = threading.Thread(target=speak)
        thread.start()
        check_cold(capfdbinary, own)
        thread.join()


def test_what_is_not_our_socket_is_left_alone(own: Home, capfdbinary: Capture, tmp_path: Path) -> None:
    with serving_here(own.library):
        aside = tmp_path / "aside.sock"
        own.socket.rename(aside)
        own.socket.symlink_to(aside)
        check_cold(capfdbinary, own)
        own.socket.unlink()
        own.socket.write_bytes(b"mine")
        check_cold(capfdbinary, own)
        check_cold(capfdbinary, own)
        with serving_here(own.library, has_socket=False) as told:
            check_cold(capfdbinary, own)
    assert told == []
    assert own.socket.read_bytes() == b"mine"


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs root, to be somebody else")
def test_a_socket_of_another_user_is_not_asked(own: Home, capfdbinary: Capture) -> None:
    own.folder.chmod(0o755)
    own.library.chmod(0o777)
    script = (
        "import os, socket, sys; os.setuid(65534); s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1])\n"
        "s.listen(); os.chmod(sys.argv[1], 0o777); print('ready', flush=True); c, _ = s.accept()\n"
        "print(c.recv(1000))"
    )
    for parent in own.folder.parents[:-2]:
        parent.chmod(parent.stat().st_mode | 0o011)
    with subprocess.Popen(
        [sys.executable, "-c", script, own.socket], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        check_cold(capfdbinary, own)
        os.chown(own.socket, 0, 0)  # looks like ours, and is not
        check_cold(capfdbinary, own)
        assert other.stdout.readline() == "b''\n", "nothing was said to it"


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc/self/fd")
def test_a_path_too_long_for_a_socket_is_no_hindrance(
    own: Home, capfdbinary: Capture, tmp_path: Path
) -> None:
    deep = tmp_path / ("long " * 20) / ("deep " * 20)
    deep.mkdir(parents=True)
    own.library.rename(deep / "library")
    with serving_here(deep / "library") as told:
        assert only_warm(capfdbinary, Home(deep), "search", "red")[0] == 0
    assert not Home(deep).socket.exists()
    assert told == []


def test_a_library_that_was_moved_is_not_the_servers(own: Home, capfdbinary: Capture, tmp_path: Path) -> None:
    with serving_here(own.library):
        (tmp_path / "moved").mkdir()
        moved = Home(tmp_path / "moved")
        own.library.rename(moved.library)
        check_cold(capfdbinary, moved)


def test_a_server_sees_what_is_indexed_meanwhile(own: Home, capfdbinary: Capture, tmp_path: Path) -> None:
    with serving_here(own.library):
        assert only_warm(capfdbinary, own, "search", "blue", "--in", str(tmp_path))[0] == 1
        paint(tmp_path / "photos/late.png", (0, 0, 255))
        with Library.open(own.library) as library:
            library.index([tmp_path / "photos"])
        _, out, _ = only_warm(capfdbinary, own, "search", "blue", "--in", str(tmp_path))
        assert b"late.png" in out
        assert only_warm(capfdbinary, own, "search", "blue") == cold(capfdbinary, own, "search", "blue")


def test_what_is_damaged_is_told_each_time(own: Home, capfdbinary: Capture) -> None:
    vectors = [paint(own.folder / f"many/{number}.png", (number, 90, 9)) for number in range(60)]
    with Library.open(own.library) as library:
        library.index([vectors[0].parent])
    (file,) = own.library.glob("vectors-*")
    file.write_bytes(file.read_bytes()[:-9])
    by_itself = cold(capfdbinary, own, "search", "red")
    assert b"damaged" in by_itself[2]
    with serving_here(own.library):
        for _ in range(3):
            assert only_warm(capfdbinary, own, "search", "red") == by_itself


def test_a_small_model_is_told_each_time(
    own: Home, capfdbinary: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_run, "BUILTIN_MODEL", "mean-color")
    by_itself = cold(capfdbinary, own, "search", "red")
    assert b"built-in model" in by_itself[2]
    with serving_here(own.library):
        for _ in range(3):
            assert only_warm(capfdbinary, own, "search", "red") == by_itself


def test_an_idle_server_ends(own: Home) -> None:
    with serving(own.library, "--idle-exit", "1.5s") as run:
        for _ in range(20):
            assert warm.ask(own.library, Question("newest")) is not None
        _, errors = run.communicate()
    assert (run.returncode, errors) == (0, "")
    assert not own.socket.exists()


def test_durations_are_read() -> None:
    assert [seconds(text) for text in ("90s", "30m", "2 h", "1.5min", "1D")] == [90, 1800, 7200, 90, 86_400]


@pytest.mark.parametrize("typed", ["", "30", "-1m", "0s", "never", "9999999d"])
def test_what_is_no_duration_is_one_clear_line(capfdbinary: Capture, typed: str) -> None:
    assert main(["serve", f"--idle-exit={typed}"]) == 2
    assert b"not a duration" in capfdbinary.readouterr().err


def test_questions_and_answers_pass_whole() -> None:
    moment = dt.datetime(2023, 5, 17, 18, 30, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    filters = Filters(
        inside=Path("/a") / ODD,
        glob="*.png",
        after=moment.replace(tzinfo=None),
        near=Place(38.7, -9.1),
        shape="square",
        min_sides=(1, 2),
        tags=("beach",),
    )
    terms = (Term("rot", -0.5, "concept"), Term(f"/a/{ODD}", 1.0, "image"))
    question = Question("similar", terms, 7, filters, -0.1, only_matches=True, include_self=True)
    assert question_of(json.loads(json.dumps(question.plain()))) == question
    photo = Photo(1, 2, Path("/a") / ODD, 3, 4, 5, Metadata(moment, "N", None, Place(0.1, 0.2)))
    for match in (Match(1, 0.1 + 0.2, photo, "weak", -3.3), Match(2, None, photo)):
        assert match_of(json.loads(json.dumps(plain_match(match)))) == match
