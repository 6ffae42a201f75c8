"""Bad files and bad names, in folders that real `clipsearch` processes index."""

from __future__ import annotations

import json
import os
import pty
import random
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mean_color import paint
from PIL import Image

from clipsearch.cli import main
from clipsearch.photos.scan import FoundFile, scan

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from conftest import Promised

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="names and devices as Linux has them")

SHARED = Path(__file__).parents[2] / "shared"
SOURCE = Path(__file__).parents[1]
COMMAND = [sys.executable, "-P", "-m", "clipsearch"]


@pytest.fixture(autouse=True)
def _one_cache(builtin_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(builtin_cache))


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(SOURCE)}


def run(
    *words: str | bytes | Path, code: int = 0, before: Sequence[str] = ()
) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run(
        [*before, *COMMAND, *words], capture_output=True, timeout=300, env=environment(), check=False
    )
    assert done.returncode == code, done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert b"internal error" not in done.stderr
    return done


def found_paths(*words: str | bytes | Path) -> set[bytes]:
    """Of all photos, in both forms that promise exact paths."""
    answer = json.loads(run("search", "red", "-n", "200000", "--format", "json", *words).stdout)
    as_json = {os.fsencode(match["path"]) for match in answer}
    exact = run("search", "red", "-n", "200000", "-0", *words).stdout
    assert exact.endswith(b"\0")
    assert set(exact[:-1].split(b"\0")) == as_json
    return as_json


def skipped() -> dict[bytes, str]:
    files = json.loads(run("status", "--skipped", "--json").stdout)
    return {os.fsencode(file["path"]): file["reason"] for file in files}


def assert_harmless(output: bytes) -> None:
    """Nothing but printable text and plain line ends and tabs."""
    text = output.decode()
    zero_width_joiner = "\u200d"  # which families of emoji are made of
    assert [c for c in text if not c.isprintable() and c not in "\n\t" + zero_width_joiner] == []


# -- files ------------------------------------------------------------------------------------------------


class Peaks:
    """Highest memory of a process and of its children, watched while they live."""

    def __init__(self, process: int) -> None:
        self.own = self.workers = 0
        self._process = process
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        tasks = Path(f"/proc/{self._process}/task")
        with suppress(OSError, IndexError):  # until it ends
            while True:
                self.own = max(self.own, self._peak(self._process))
                for task in tasks.iterdir():
                    for child in (task / "children").read_text().split():
                        with suppress(OSError, IndexError):
                            self.workers = max(self.workers, self._peak(int(child)))
                time.sleep(0.01)

    @staticmethod
    def _peak(process: int) -> int:
        return 1024 * int(Path(f"/proc/{process}/status").read_text().split("VmHWM:")[1].split()[0])

    def join(self) -> None:
        self._thread.join()


def test_every_nasty_file_is_indexed_or_skipped_with_a_reason_in_one_run(promised: Promised) -> None:
    nasty = SHARED / "nasty"
    if not nasty.is_dir():
        pytest.skip("needs ../shared/nasty")
    pipe = subprocess.PIPE
    command = [*COMMAND, "index", str(nasty), "--model", "builtin", "--json"]
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, env=environment()) as index:
        peaks = Peaks(index.pid)
        out, said = index.communicate(timeout=300)
        peaks.join()
    report = json.loads(out)
    assert index.returncode == 0
    for line in said.decode().splitlines():  # libtiff and others would print warnings
        assert line.startswith(("embedding: ", "looking ", "preparing ", "this is the small "))
    pictures = [item for item in scan(nasty) if isinstance(item, FoundFile)]
    refused = skipped()
    assert report["new"] + report["copied"] + report["skipped"] == len(pictures)
    assert report["skipped"] == len(refused) < 100
    found = found_paths("--in", nasty)
    assert found.isdisjoint(refused)
    assert found | set(refused) == {os.fsencode(nasty) + b"/" + item.path for item in pictures}
    for reason in refused.values():
        assert 5 < len(reason) < 200
        assert reason.isprintable()
        assert "crashed" not in reason
        assert "took more" not in reason
    # The program itself with model and library, and a process each with Python, numpy and the decoders.
    assert peaks.own < 500e6
    assert 0 < peaks.workers < 500e6
    sizes = f"peaks: program {peaks.own / 1e6:.0f} MB, decoding process {peaks.workers / 1e6:.0f} MB"
    print(f"{len(pictures) - len(refused)} indexed, {len(refused)} skipped, {sizes}")  # noqa: T201
    promised("every bad file is indexed or skipped with a reason, in one run", len(pictures), "files tried")


def test_files_that_change_while_they_are_read_are_right_in_the_end(
    tmp_path: Path, promised: Promised
) -> None:
    photos, rng, changes = tmp_path / "photos", random.Random(11), 0
    for number in range(300):
        paint(photos / f"{number}.tif" if number % 3 else photos / f"{number}.png", color(number))
    command = [*COMMAND, "index", str(photos), "--model", "builtin", "--json"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment()) as index:
        while index.poll() is None:
            path = photos / f"{(number := rng.randrange(300))}.{'tif' if number % 3 else 'png'}"
            change(path, rng)
            changes += 1
            time.sleep(0.001)
    assert index.returncode == 0
    for path in photos.iterdir():
        if not path.is_file():
            path.unlink()
    run("index", photos)
    before = found_paths(), skipped()
    for path in before[0]:
        with Image.open(path) as image:
            image.load()
    assert before[0] | set(before[1]) == {os.fsencode(path) for path in photos.iterdir()}
    assert json.loads(run("index", photos, "--json").stdout)["unchanged"] == len(before[0])
    promised("files that change, shrink or vanish while they are read are right after the next run", 1, "run")
    assert changes > 100


def change(path: Path, rng: random.Random) -> None:
    """Empty, cut off, remove, replace or grow a file, or put a pipe in its place."""
    if path.is_fifo():
        path.unlink()
    if not path.exists():
        paint(path, color(rng.randrange(1000)))
    match rng.randrange(6):
        case 0:
            path.write_bytes(b"")
        case 1:
            os.truncate(path, path.stat().st_size // 2)
        case 2:
            path.unlink()
        case 3:
            path.unlink()
            os.mkfifo(path)
        case 4:
            with path.open("ab") as file:
                file.write(bytes(100_000))
        case _:
            paint(path, color(rng.randrange(1000)))


def color(number: int) -> tuple[int, int, int]:
    return number % 256, number // 256 * 60, 99


# -- names ------------------------------------------------------------------------------------------------

NAMES = [
    b"latin-\xe9 \xff\xfe.png",
    b"two\nlines\r\n.png",
    b"tab\there.png",
    b"\x1b]0;a title\x07.png",
    b"\x1b[2J\x1b[31mred.png",
    "\u009b31m.png".encode(),
    "photo\u202egnp.exe.png".encode(),
    "\u2066isolated\u2069 \u200f.png".encode(),
    "\u2028\u2029.png".encode(),
    b"x" * 251 + b".png",
    b" leading and double  spaces .png",
    b"-n.png",
    b"--help.png",
    b"2:weighted.png",
    b"http:..evil.png",
    b"'quo\"ted`$(id)\\.png",
    b"[red]markup[.red] :smile:.png",
    b"%s{}*?.png",
    b"CASE.png",
    b"case.png",
    "caf\u00e9.png".encode(),
    "cafe\u0301.png".encode(),
    "日本 👨‍👩‍👧.png".encode(),
    b"\x7f\x01\x02.png",
]
FOLDERS = [
    b"trailing space ",
    b"dots...",
    b"\x1b[31mfolder",
    b"two\nlines",
    "\u202erightleft".encode(),
    b"y" * 255,
    b"\xe9",
]


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of photos with every awkward name, one in every awkward folder, and one bad file in each."""
    root = tmp_path_factory.mktemp("named")
    places = [os.fsencode(root) + b"/" + name for name in NAMES]
    places += [os.fsencode(root) + b"/" + folder + b"/photo.png" for folder in FOLDERS]
    for number, place in enumerate(places):
        paint(Path(os.fsdecode(place)), (8 * number, 255 - 8 * number, 128))
    for folder in FOLDERS:
        (root / os.fsdecode(folder) / "\x1b[5mbad\n.jpg").write_bytes(b"no picture")
    return root


def on_a_terminal(*words: str | bytes | Path) -> bytes:
    """What a command shows on a terminal."""
    leader, follower = pty.openpty()
    shown = bytearray()
    with subprocess.Popen(
        [*COMMAND, *words], stdin=follower, stdout=follower, stderr=follower, env=environment()
    ) as process:
        os.close(follower)
        with suppress(OSError):  # EIO: it has ended
            while piece := os.read(leader, 65_536):
                shown += piece
    os.close(leader)
    assert process.returncode == 0, bytes(shown)
    return bytes(shown)


def test_awkward_names_are_indexed_found_and_shown_harmlessly(named: Path, promised: Promised) -> None:
    good = set(map(os.fsencode, named.rglob("*.png")))
    bad = set(map(os.fsencode, named.rglob("*.jpg")))
    assert (len(good), len(bad)) == (len(NAMES) + len(FOLDERS), len(FOLDERS))
    for output in (on_a_terminal("index", named, "--model", "builtin"), on_a_terminal("search", "red")):
        for evil in (b"\x1b]0;", b"\x1b[2J", b"\x1b[31mfolder", b"\x1b[31mred", "\u202e".encode(), b"\xff"):
            assert evil not in output
    assert found_paths() == good
    assert skipped() == dict.fromkeys(bad, "not an image of a known format")
    assert set(run("status", "--skipped", "-0").stdout[:-1].split(b"\0")) == bad
    for words in (["search", "red", "-n", "99"], ["status", "--skipped"], ["status"]):
        done = run(*words)
        assert_harmless(done.stdout)
        assert_harmless(done.stderr)
    assert len(run("search", "red", "-n", "99").stdout.splitlines()) == len(good)
    assert b"\x1b[5m" not in on_a_terminal("status", "--skipped")
    promised("an awkward name is indexed, found, and shown without harm", len(good | bad), "names")


def test_awkward_names_can_be_given_to_every_command(
    named: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    def command(*words: str | bytes | Path, code: int = 0) -> tuple[bytes, bytes]:
        assert main([os.fsdecode(word) for word in words]) == code
        out, said = capfdbinary.readouterr()
        assert_harmless(said)
        return out, said

    command("index", named, "--model", "builtin")
    for photo in map(os.fsencode, named.rglob("*.png")):
        assert command("similar", photo, "--include-self", "-n", "1", "-0")[0] == photo + b"\0"
    for folder in FOLDERS:
        place = os.fsencode(named) + b"/" + folder
        assert command("search", "red", "--in", place, "-0")[0] == place + b"/photo.png\0"
        command("index", place)
        command("similar", place + b"/gone\x1b[2J.png", code=2)
        _, unread = command("similar", place + b"/\x1b[5mbad\n.jpg", code=2)
        assert b"not an image of a known format" in unread
        command("classify", place, "--labels", "red,blue")
        command("index", place + b"/none\x1b[2J", code=2)
        library = tmp_path / "library"
        command("index", place, "--library", library, "--model", "builtin")
        assert_harmless(command("forget", place, "--library", library)[0])


def test_names_that_differ_by_case_or_normalisation_stay_apart(tmp_path: Path) -> None:
    names = ["CAFÉ.png", "café.png", "cafe\u0301.png", "Café.png"]
    for number, name in enumerate(names):
        paint(tmp_path / name, (40 * number, 99, 200))
    run("index", tmp_path, "--model", "builtin")
    (tmp_path / "cafe\u0301.png").unlink()
    report = json.loads(run("index", tmp_path, "--json").stdout)
    assert (report["unchanged"], report["removed"], report["moved"]) == (3, 1, 0)
    assert found_paths() == {os.fsencode(tmp_path / name) for name in names if name != "cafe\u0301.png"}


# -- trees ------------------------------------------------------------------------------------------------


def test_special_files_links_and_loops_end_and_cost_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    paint(root / "a.png", (255, 0, 0))
    paint(outside / "b.png", (0, 255, 0))
    os.mkfifo(root / "pipe.png")
    with suppress(PermissionError):  # for root only
        os.mknod(root / "zero.png", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    (root / "null.png").symlink_to("/dev/zero")
    (root / "up").symlink_to(tmp_path)
    (root / "self").symlink_to(root)
    (root / "ring.png").symlink_to(root / "ring.png")
    (root / "one").symlink_to(root / "two")
    (root / "two").symlink_to(root / "one")
    monkeypatch.chdir(root)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.png")
        run("index", root, "--model", "builtin")
    assert found_paths() == {os.fsencode(root / "a.png"), os.fsencode(root / "up/outside/b.png")}
    assert skipped() == {}
    for name in ("pipe.png", "null.png"):
        assert b"not a regular file" in run("similar", root / name, code=2).stderr


def deep_folder(root: Path, name: str, levels: int) -> None:
    """Folders in folders, with a photo in the last; its path may be too long for any system call."""
    picture = paint(root / "picture.png", (1, 2, 3)).read_bytes()
    here = os.open(root, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=here)
        deeper = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    with os.fdopen(os.open("deep.png", os.O_CREAT | os.O_WRONLY, dir_fd=here), "wb") as file:
        file.write(picture)
    os.close(here)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that anyone may enter, removed by a program that knows no longest path."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    subprocess.run(["rm", "-rf", folder], check=True)


def test_a_photo_500_folders_deep_is_found(place: Path) -> None:
    deep_folder(place, "d", 500)
    run("index", place, "--model", "builtin")
    deep = os.fsencode(place / "/".join(["d"] * 500) / "deep.png")
    assert found_paths() == {deep, os.fsencode(place / "picture.png")}
    assert run("similar", deep, "--include-self", "-0").stdout.count(b"\0") == 2


def test_a_path_too_long_for_the_system_is_told_and_the_rest_indexed(place: Path) -> None:
    deep_folder(place, "z" * 200, 30)
    done = run("index", place, "--model", "builtin")
    assert found_paths() == {os.fsencode(place / "picture.png")}
    assert b"zzz" in done.stdout + done.stderr


def test_a_closed_folder_amid_a_tree_loses_nothing(place: Path) -> None:
    for name in ("a/1", "closed/2", "z/3", "closed-file"):
        paint(place / "photos" / f"{name}.png", (len(name), 50, 70))
    home = ["--library", str(place / "library")]
    bound: list[str] = []
    if os.geteuid() == 0:  # whom permissions bind only without these two powers
        bound = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
        if shutil.which("setpriv") is None:
            pytest.skip("needs setpriv, or not to be root")
    run("index", place / "photos", *home, "--model", "builtin", before=bound)
    everything = run("search", "red", *home, "-0", before=bound).stdout
    assert everything.count(b"\0") == 4
    closed, file = place / "photos" / "closed", place / "photos" / "closed-file.png"
    closed.chmod(0)
    paint(file, (250, 1, 1)).chmod(0)
    done = run("index", *home, "--json", before=bound)
    report = json.loads(done.stdout)
    assert (report["removed"], report["skipped"], report["unreadable"]) == (0, 1, [str(closed)])
    assert b"closed/2.png" in run("search", "red", *home, "-0", before=bound).stdout
    listed = json.loads(run("status", "--skipped", "--json", *home, before=bound).stdout)
    assert [(item["path"], item["reason"]) for item in listed] == [(str(file), "permission denied")]
    closed.chmod(0o755)
    file.chmod(0o644)
    report = json.loads(run("index", *home, "--json", before=bound).stdout)
    assert (report["unchanged"], report["removed"], report["skipped"]) == (3, 0, 0)


@pytest.mark.slow
def test_a_folder_of_100_000_files_is_indexed_whole(tmp_path: Path, promised: Promised) -> None:
    photos = tmp_path / "photos"
    pictures = [paint(photos / f"first-{n}.png", color(n), size=(2, 2)).read_bytes() for n in range(100)]
    for number in range(100_000 - len(pictures)):
        (photos / f"{number}.png").write_bytes(pictures[number % len(pictures)])
    report = json.loads(run("index", photos, "--model", "builtin", "--json").stdout)
    assert (report["new"] + report["copied"], report["embedded"], report["skipped"]) == (100_000, 100, 0)
    assert len(found_paths()) == 100_000
    assert json.loads(run("index", "--json").stdout)["unchanged"] == 100_000
    promised("a folder of very many files is indexed whole", 100_000, "files")
