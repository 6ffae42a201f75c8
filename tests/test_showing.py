"""Showing and collecting results, through the command line."""

from __future__ import annotations

import csv
import io
import os
import pty
import re
import subprocess
import sys
import termios
import threading
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

import program
import pytest
from conftest import SOURCE
from mean_color import paint
from PIL import Image

from clipsearch.cli import main

HARD = [
    b"two\nlines.png",
    b"<img src=x onerror=alert(1)>.png".replace(b"/", b""),
    b"latin-\xe9.png",
    "🦩 '\".png".encode(),
]
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of red photos with hard names, and of green and blue ones of the same name."""
    folder = tmp_path_factory.mktemp("showing")
    for number, name in enumerate(HARD):
        file = paint(folder / "photos" / "plain.png", (255, number, 0))
        file.rename(os.fsdecode(os.fsencode(folder / "photos") + b"/" + name))
    paint(folder / "photos" / "a" / "same.png", GREEN)
    paint(folder / "photos" / "b" / "same.png", BLUE)
    paint(folder / "photos" / "c" / "same.png", (0, 255, 40))
    done = run(folder, "index", str(folder / "photos"))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(autouse=True)
def _tiny(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program.install(monkeypatch.setattr)
    monkeypatch.setenv("CLIPSEARCH_LIBRARY", str(home / "library"))


def names_in(folder: Path) -> list[bytes]:
    return sorted(os.fsencode(path.name) for path in folder.iterdir())


def environment(home: Path) -> dict[str, str]:
    own = {"CLIPSEARCH_LIBRARY": str(home / "library"), "TERM": "xterm-256color", "LANG": "C.UTF-8"}
    return os.environ | own | {"PYTHONPATH": str(SOURCE)}


def run(home: Path, *arguments: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, program.__file__, *arguments]
    return subprocess.run(command, env=environment(home), capture_output=True, check=False, **options)


Capture = pytest.CaptureFixture[bytes]


def said(capture: Capture, *arguments: str | Path, code: int = 0) -> str:
    """What a command says beside its result."""
    assert main([str(argument) for argument in arguments]) == code
    return capture.readouterr().err.decode()


class Page(HTMLParser):
    """The links, pictures and elements of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[bytes] = []
        self.pictures: list[str] = []
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.elements.add(tag)
        self.attributes |= found.keys()
        if tag == "a":
            address = urlsplit(found["href"] or "")
            assert address.scheme == "file"
            self.links.append(unquote_to_bytes(address.path))
        if tag == "img":
            self.pictures.append(found["src"] or "")


def test_the_page_holds_every_photo_and_links_to_it_whatever_its_name(
    home: Path, tmp_path: Path, capsysbinary: Capture
) -> None:
    text = "red"
    told = said(
        capsysbinary, "search", text, "-n", "4", "--add", "0.001:<b>red</b>", "--html", tmp_path / "page.html"
    )
    assert "page written" in told
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    page = Page(html)
    assert sorted(page.links) == sorted(os.fsencode(home / "photos") + b"/" + name for name in HARD)
    assert len(page.pictures) == len(HARD)
    assert all(picture.startswith("data:image/jpeg;base64,") for picture in page.pictures)
    assert not page.elements & {"script", "b", "iframe", "object"}
    assert not any(attribute.startswith("on") for attribute in page.attributes)
    assert "prefers-color-scheme: dark" in html
    assert names_in(tmp_path) == [b"page.html"]


def test_a_photo_that_is_gone_leaves_a_blank_not_a_failure(
    home: Path, tmp_path: Path, capsysbinary: Capture
) -> None:
    victim = home / "photos" / "a" / "same.png"
    data = victim.read_bytes()
    victim.write_bytes(b"\x89PNG no more")
    try:
        options = ("--html", tmp_path / "page.html", "--sheet", tmp_path / "sheet.png")
        said(capsysbinary, "search", "green", "-n", "2", *options)
    finally:
        victim.write_bytes(data)
    assert "cannot be read" in (tmp_path / "page.html").read_text(encoding="utf-8")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 1000


def test_the_sheet_shows_the_photos_in_their_order(tmp_path: Path, capsysbinary: Capture) -> None:
    said(capsysbinary, "search", "blue", "-n", "8", "--sheet", tmp_path / "sheet.png")
    sheet = Image.open(tmp_path / "sheet.png").convert("RGB")
    assert sheet.getpixel((16 + 120, 16 + 52 + 90)) == BLUE  # the middle of the first thumbnail
    assert sheet.height > 2 * 180


def test_the_plot_has_a_bar_for_each_label_and_its_surest_photos(
    tmp_path: Path, capsysbinary: Capture
) -> None:
    labels = ("classify", "--labels", "red,green,blue", "--template", "{}")
    said(capsysbinary, *labels, "--plot", tmp_path / "plot.png", "--html", tmp_path / "page.html")
    plot = Image.open(tmp_path / "plot.png").convert("RGB")
    bar = (0, 130, 150)
    columns = [x for x in range(plot.width) if plot.getpixel((x, 2 * 16 + 14)) == bar]
    second = [x for x in range(plot.width) if plot.getpixel((x, 2 * 16 + 28 + 14)) == bar]
    assert len(columns) > 1.8 * len(second) > 0  # four red ones, two green ones
    headings = re.findall("<h2>(.*?)</h2>", (tmp_path / "page.html").read_text(encoding="utf-8"))
    assert headings == ["red   4 photos", "green   2 photos", "blue   1 photo"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--html", "there.html"), "there is a file already"),
        (("--sheet", "there.png"), "there is a file already"),
        (("--sheet", "link.png"), "there is a file already"),
        (("--html", "none/new.html"), "no such folder"),
        (("--sheet", "new.gif"), "end it in .png"),
        (("--html", "new"), "end it in .html"),
        (("--copy-to", "there.png"), "not a folder"),
        (("--copy-to", "x", "--link-to", "y"), "--copy-to and --link-to together"),
        (("--dry-run",), "--dry-run without --copy-to or --link-to"),
    ],
)
def test_what_cannot_be_written_is_said_before_any_search(
    options: tuple[str, ...],
    message: str,
    tmp_path: Path,
    capsysbinary: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("there.html", "there.png"):
        Path(name).write_text("mine")
    Path("link.png").symlink_to("nowhere")
    before = names_in(tmp_path)
    told = said(capsysbinary, "search", "red", *options, code=2)
    assert message in told
    assert told.count("error: ") == told.count("hint: ") == 1
    assert names_in(tmp_path) == before
    assert Path("there.html").read_text() == Path("there.png").read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--plot", "there.png"), "there is a file already"),
        (("--into", "there.png"), "not a folder"),
        (("--link",), "--link without --into"),
        (("--dry-run",), "--dry-run without --into"),
    ],
)
def test_classify_says_it_before_too(
    options: tuple[str, ...],
    message: str,
    tmp_path: Path,
    capsysbinary: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.png").write_text("mine")
    assert message in said(capsysbinary, "classify", "--labels", "red", *options, code=2)
    assert Path("there.png").read_text() == "mine"


def test_results_are_copied_under_their_names_and_again_without_change(
    home: Path, tmp_path: Path, capsysbinary: Capture
) -> None:
    target = tmp_path / "a folder"
    search = ("search", "red", "-n", "4", "--copy-to", target)
    assert "4 photos would be copied into" in said(capsysbinary, *search, "--dry-run")
    assert not target.exists()
    assert "4 photos copied into" in said(capsysbinary, *search)
    assert names_in(target) == sorted(HARD)
    for name in HARD:
        copy, photo = (os.fsdecode(os.fsencode(folder) + b"/" + name) for folder in (target, home / "photos"))
        assert Path(copy).read_bytes() == Path(photo).read_bytes()
    assert "0 photos copied" in said(capsysbinary, *search)
    assert names_in(target) == sorted(HARD)


def test_similar_links_keep_same_names_apart(home: Path, tmp_path: Path, capsysbinary: Capture) -> None:
    photo = home / "photos" / "a" / "same.png"
    said(capsysbinary, "similar", photo, "--include-self", "-n", "3", "--link-to", tmp_path / "links")
    found = {link.name: link.readlink() for link in (tmp_path / "links").iterdir()}
    assert found.keys() >= {"same.png", "same (2).png"}
    assert found["same.png"] == photo


def test_a_photo_that_cannot_be_copied_is_named_and_the_others_are_there(
    home: Path, tmp_path: Path, capsysbinary: Capture
) -> None:
    victim = home / "photos" / "a" / "same.png"
    away = victim.rename(home / "away")
    try:
        told = said(capsysbinary, "search", "green", "-n", "2", "--copy-to", tmp_path / "out", code=2)
    finally:
        away.rename(victim)
    assert f"not copied: {victim} (no such file or directory)" in told
    assert "error: 1 of 2 photos could not be copied" in told
    assert names_in(tmp_path / "out") == [b"same.png"]


@pytest.mark.parametrize("link", [False, True])
def test_classify_sorts_photos_into_a_folder_a_label(
    tmp_path: Path, capsysbinary: Capture, *, link: bool
) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("red\ngreen / lush\nblue\n")
    out = tmp_path / "sorted"
    options = ("--template", "{}", "--labels-file", labels, "--into", out, *(["--link"] if link else []))
    assert main(["classify", *map(str, options), "--format", "csv", "-n", "2"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsysbinary.readouterr().out.decode("utf-8", "surrogateescape"))))
    assert len(rows) == 2
    found = {folder.name: names_in(folder) for folder in out.iterdir()}
    assert found == {
        "red": sorted(HARD),
        "green _ lush": [b"same (2).png", b"same.png"],
        "blue": [b"same.png"],
    }
    assert (out / "blue" / "same.png").is_symlink() == link


@pytest.mark.parametrize(
    "command", [("search", "red", "--copy-to"), ("classify", "--labels", "red,green,blue", "--into")]
)
def test_photos_are_collected_though_nobody_reads_the_list(
    command: tuple[str, ...], home: Path, tmp_path: Path
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-u", program.__file__, *command, str(tmp_path / "out"), "--format", "jsonl"],
        env=environment(home),
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert done.returncode == 0
    assert b"7 photos copied into" in done.stderr
    assert sum(path.is_file() for path in (tmp_path / "out").rglob("*")) == 7


def test_open_hands_the_page_or_the_best_photo_to_the_system(
    home: Path, tmp_path: Path, capsysbinary: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer = tmp_path / "xdg-open"
    viewer.write_text(f'#!/bin/sh\nprintf %s "$1" > "{tmp_path}/opened"\n')
    viewer.chmod(0o755)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    said(capsysbinary, "search", "blue", "--open")
    assert (tmp_path / "opened").read_text() == str(home / "photos" / "b" / "same.png")
    said(capsysbinary, "search", "blue", "--open", "--html", tmp_path / "page.html")
    assert (tmp_path / "opened").read_text() == str(tmp_path / "page.html")
    viewer.write_text("#!/bin/sh\nexit 3\n")
    assert "not opened: xdg-open found no program" in said(capsysbinary, "search", "blue", "--open")
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert "not opened: xdg-open cannot be started" in said(capsysbinary, "search", "blue", "--open")


def on_a_terminal(
    home: Path, *arguments: str, answer: bytes, keyboard: bool = True, size: tuple[int, int] = (40, 100)
) -> tuple[int, bytes]:
    """Run a command on a terminal that answers the question what it can do."""
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, size)
    received = bytearray()

    def talk() -> None:
        answered = False
        with suppress(OSError):
            while chunk := os.read(leader, 65536):
                received.extend(chunk)
                if not answered and b"\x1b[c" in received:
                    answered = True
                    os.write(leader, answer)

    terminal = threading.Thread(target=talk)
    terminal.start()
    process = subprocess.Popen(
        [sys.executable, program.__file__, *arguments],
        env=environment(home),
        stdin=follower if keyboard else subprocess.DEVNULL,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    code = process.wait(60)
    terminal.join()
    os.close(leader)
    return code, bytes(received)


def test_a_preview_is_drawn_in_what_the_terminal_speaks(home: Path) -> None:
    search = ("search", "red", "-n", "4", "--preview")
    code, output = on_a_terminal(home, *search, answer=b"\x1b[?62;4c")
    assert (code, output.count(b"\x1bP")) == (0, 4), output[-600:]  # four pictures in Sixel
    code, output = on_a_terminal(home, *search, answer=b"\x1b[?62c")
    assert code == 0
    assert "▀".encode() in output or "▄".encode() in output
    assert b"two\\nlines.p" in output


def test_a_preview_where_there_is_no_terminal_is_refused_in_a_sentence(home: Path) -> None:
    code, output = on_a_terminal(home, "search", "red", "--preview", answer=b"", keyboard=False)
    assert code == 0
    assert b"no preview: standard input is no terminal" in output
    code, output = on_a_terminal(home, "search", "red", "--preview", answer=b"", size=(0, 0))
    assert code == 0
    assert b"no preview: this terminal does not say how large it is" in output
    piped = run(home, "search", "red", "-n", "1", "--preview", "--format", "paths")
    assert b"no preview: standard output is no terminal" in piped.stderr
    assert piped.stdout.count(b"\n") == 1 or b"two\nlines" in piped.stdout
