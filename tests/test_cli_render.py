from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import shlex
import subprocess
import sys
import termios
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import pytest

from clipsearch.cli import terminal, wording
from clipsearch.cli.labels import parse_labels
from clipsearch.cli.options import Format
from clipsearch.cli.predictions import Tally, write_prediction_table
from clipsearch.cli.render import chosen, write_json, write_matches, write_records
from clipsearch.errors import UsageError
from clipsearch.predictions import Predictions
from clipsearch.records import match_record, prediction_record, prediction_records
from clipsearch.types import IndexReport, Match, Metadata, Photo, Prediction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AWKWARD = [
    "/photos/plain.jpg",
    "/photos/with space and  two.jpg",
    "/photos/trailing space.jpg ",
    "/photos/[red]markup[/red] :smile: www.x.org 1234.jpg",
    "/photos/two\nlines.jpg",
    "/photos/\x1b[31mred\x1b[0m\x07.jpg",
    '/photos/quote\'d "name" back\\slash.jpg',
    "/photos/tab\tand\r.jpg",
    "/photos/grüße 日本 👨‍👩‍👧.jpg",
    "/photos/" + os.fsdecode(b"latin-\xe9.jpg"),
    "/photos/\u202egpj.exe\u2028",
    "/photos/" + "long/" * 60 + "name.jpg",
]


def a_match(path: str, rank: int = 1, score: float = 0.3125, taken: datetime | None = None) -> Match:
    return Match(rank, score, Photo(rank, rank, Path(path), 640, 480, 1000, Metadata(taken)), "fair", 0.5)


@pytest.fixture
def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Callable[[], str]]]:
    """Makes standard output a real terminal of some width; the inner call returns what it received."""
    opened: list[TextIO] = []

    def drain(leader: int, chunks: list[bytes]) -> None:
        with suppress(OSError):  # EIO once the other end is closed
            while chunk := os.read(leader, 4096):
                chunks.append(chunk)
        os.close(leader)

    def become(columns: int) -> Callable[[], str]:
        leader, follower = pty.openpty()
        attributes = termios.tcgetattr(follower)
        attributes[1] &= ~termios.OPOST  # \n stays \n
        termios.tcsetattr(follower, termios.TCSANOW, attributes)
        termios.tcsetwinsize(follower, (40, columns))
        stream = os.fdopen(follower, "w", encoding="utf-8")
        opened.append(stream)
        chunks: list[bytes] = []
        reader = threading.Thread(target=drain, args=(leader, chunks))
        reader.start()
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.setenv("COLUMNS", str(columns))
        for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
            monkeypatch.delenv(name, raising=False)

        def received() -> str:
            stream.close()
            reader.join()
            return b"".join(chunks).decode()

        return received

    yield become
    for stream in opened:
        stream.close()


def without_escapes(text: str) -> str:
    return re.sub(r"\x1b\]8;[^\x1b]*\x1b\\|\x1b\[[0-9;]*m", "", text)


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_a_terminal_of_any_width_gets_every_path_whole(
    columns: int, on_a_terminal: Callable[[int], Callable[[], str]]
) -> None:
    received = on_a_terminal(columns)
    write_matches([a_match(path, rank) for rank, path in enumerate(AWKWARD, 1)], Format.TABLE)
    lines = without_escapes(received()).splitlines()
    assert lines[0].split() == ["#", "score", "match", "taken", "path"]
    for rank, (line, path) in enumerate(zip(lines[1:], AWKWARD, strict=True), 1):
        number, score, strength, taken, rest = line.split(None, 4)
        assert (number, score, strength, taken) == (str(rank), "0.312", "fair", "-")
        assert rest == terminal.shown(path)


def test_the_terminal_table_has_links_and_colours_but_nothing_from_a_file_name(
    on_a_terminal: Callable[[int], Callable[[], str]],
) -> None:
    received = on_a_terminal(80)
    write_matches([a_match("/photos/\x1b[31mred.jpg")], Format.TABLE)
    text = received()
    assert "file:///photos/%1B%5B31mred.jpg" in text
    assert r"$'/photos/\x1b[31mred.jpg'" in without_escapes(text)
    assert "\x1b[31m" not in text


def test_no_color_and_dumb_terminals_are_honoured(
    on_a_terminal: Callable[[int], Callable[[], str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    received = on_a_terminal(80)
    monkeypatch.setenv("TERM", "dumb")
    write_matches([a_match("/photos/a.jpg")], Format.TABLE)
    assert "\x1b" not in received()
    received = on_a_terminal(80)
    monkeypatch.setenv("NO_COLOR", "1")
    write_matches([a_match("/photos/a.jpg")], Format.TABLE)
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", received())


def test_a_pipe_gets_tabs_and_one_line_a_match(capsys: pytest.CaptureFixture[str]) -> None:
    taken = datetime(2024, 5, 1, 12, 30)  # noqa: DTZ001 - cameras write no offset
    write_matches([a_match(path, rank, -0.1, taken) for rank, path in enumerate(AWKWARD, 1)], Format.TABLE)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(AWKWARD)
    for rank, (line, path) in enumerate(zip(lines, AWKWARD, strict=True), 1):
        assert line.split("\t") == [str(rank), "-0.100", "fair", "2024-05-01", terminal.shown(path)]


@pytest.mark.parametrize("output", [Format.JSON, Format.JSONL])
def test_json_is_ascii_and_gives_back_every_path(
    output: Format, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    write_matches([a_match(path, rank) for rank, path in enumerate(AWKWARD, 1)], output)
    out = capsysbinary.readouterr().out.decode("ascii")
    records = json.loads(out) if output is Format.JSON else [json.loads(line) for line in out.splitlines()]
    assert [record["path"] for record in records] == AWKWARD
    assert records[0] == {
        "rank": 1,
        "score": 0.3125,
        "strength": "fair",
        "margin": 0.5,
        "path": AWKWARD[0],
        "taken": None,
        "width": 640,
        "height": 480,
        "size": 1000,
        "camera": None,
        "lens": None,
        "latitude": None,
        "longitude": None,
        "seconds": None,
    }


def test_csv_gives_back_every_path(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    write_matches([a_match(path, rank) for rank, path in enumerate(AWKWARD, 1)], Format.CSV)
    out = capsysbinary.readouterr().out.decode("utf-8", "surrogateescape")
    rows = list(csv.DictReader(io.StringIO(out, newline="")))
    assert [row["path"] for row in rows] == AWKWARD
    assert list(rows[0])[:6] == ["rank", "score", "strength", "margin", "path", "taken"]


def test_paths_are_exact_bytes_ended_by_nul_or_line_break(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    matches = [a_match(path) for path in AWKWARD]
    write_matches(matches, Format.PATHS, null=True)
    assert capsysbinary.readouterr().out == b"".join(os.fsencode(path) + b"\0" for path in AWKWARD)
    write_matches(matches[:2], Format.PATHS)
    assert capsysbinary.readouterr().out == b"".join(os.fsencode(path) + b"\n" for path in AWKWARD[:2])


def test_paths_on_a_terminal_are_harmless(on_a_terminal: Callable[[int], Callable[[], str]]) -> None:
    received = on_a_terminal(80)
    write_matches([a_match("/photos/\x1b[31mred.jpg")], Format.PATHS)
    assert received() == "$'/photos/\\x1b[31mred.jpg'\n"


@pytest.mark.parametrize("path", AWKWARD)
def test_bash_reads_a_shown_path_back_exactly(path: str) -> None:
    word = terminal.shown(path)
    if not word.startswith("$'"):
        assert word == path
        word = shlex.quote(word)
    done = subprocess.run(
        ["bash", "-c", f"printf %s {word}"], check=True, capture_output=True, env={"LC_ALL": "C.UTF-8"}
    )
    assert done.stdout == os.fsencode(path)


def test_nothing_found_writes_nothing(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    for output in Format:
        write_matches([], output)
    assert capsysbinary.readouterr().out == b""


def test_a_score_keeps_six_digits_and_a_date_its_offset() -> None:
    record = match_record(a_match("/a.jpg", 1, 0.123456789, datetime(2024, 5, 1, 12, tzinfo=UTC)))
    assert record["score"] == 0.123457
    assert record["taken"] == "2024-05-01T12:00:00+00:00"


def test_null_means_paths_and_contradicts_other_formats() -> None:
    assert chosen(None, null=False) is Format.TABLE
    assert chosen(None, null=True) is Format.PATHS
    assert chosen(Format.CSV, null=False) is Format.CSV
    with pytest.raises(UsageError, match="csv"):
        chosen(Format.CSV, null=True)


def test_a_report_becomes_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    report = IndexReport(datetime(2024, 5, 1, tzinfo=UTC), 1.5, new=2, offline=(Path("/media/usb"),))
    write_json(report)
    read = json.loads(capsys.readouterr().out)
    assert read["new"] == 2
    assert read["offline"] == ["/media/usb"]
    assert read["started"] == "2024-05-01T00:00:00+00:00"


# -- classification ----------------------------------------------------------------------------

LABELS = ["cat", "dog, wet", "日本"]
PREDICTIONS = [
    Prediction("/a.jpg", (0.7, 0.2, 0.1), 0),
    Prediction("/b.jpg", (0.3, 0.4, 0.3), 1),
    Prediction("/c.jpg", (0.1, 0.8, 0.1), 1),
]


def test_a_prediction_record_has_every_label_and_the_best_one() -> None:
    assert prediction_record(PREDICTIONS[2], LABELS) == {
        "path": "/c.jpg",
        "label": "dog, wet",
        "probability": 0.8,
        "probabilities": {"cat": 0.1, "dog, wet": 0.8, "日本": 0.1},
    }


def test_prediction_csv_has_a_column_a_label(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    write_records(
        prediction_records(Predictions.of(PREDICTIONS), LABELS),
        Format.CSV,
        columns=("path", "label", "probability", *LABELS),
    )
    rows = list(csv.reader(io.StringIO(capsysbinary.readouterr().out.decode())))
    assert rows[0] == ["path", "label", "probability", "cat", "dog, wet", "日本"]
    assert rows[1] == ["/a.jpg", "cat", "0.7", "0.7", "0.2", "0.1"]


def test_the_table_shows_the_best_labels_and_counts_all_photos(capsys: pytest.CaptureFixture[str]) -> None:
    tally = Tally(LABELS)
    rows = write_prediction_table(tally.count([Predictions.of(PREDICTIONS)], 0.5), LABELS, top=2, limit=1)
    tally.show()
    captured = capsys.readouterr()
    assert captured.out == "70.0%\tcat\t20.0%\tdog, wet\t/a.jpg\n"
    assert rows == 1
    assert (tally.photos, tally.left_out) == (2, 1)
    counts = [line.split() for line in captured.err.splitlines() if line]
    assert [words[:3] for words in counts[:1]] == [["cat", "1", "50.0%"]]
    assert "1 photo left out" in captured.err


def test_labels_come_from_commas_and_from_lines(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_bytes("\ufeffa cat, sleeping\r\n\r\n  dog \r\n".encode())
    assert parse_labels([" bird ,fish,", "cow"], file) == ["bird", "fish", "cow", "a cat, sleeping", "dog"]


@pytest.mark.parametrize(("typed", "says"), [(["cat,dog, cat"], "'cat'"), ([" , "], "no labels"), ([], "no")])
def test_doubled_or_missing_labels_are_refused(typed: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_labels(typed)


def test_an_unreadable_label_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        parse_labels((), tmp_path / "none.txt")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(UsageError, match="not UTF-8"):
        parse_labels((), tmp_path / "latin.txt")


# -- words ---------------------------------------------------------------------------------------


def test_numbers_read_as_people_write_them() -> None:
    assert [wording.count(number, "photo") for number in (0, 1, 1000)] == [
        "0 photos",
        "1 photo",
        "1,000 photos",
    ]
    assert [wording.size(number) for number in (1, 999, 1500, 2_100_000, 3 * 10**12)] == [
        "1 byte",
        "999 bytes",
        "1.5 kB",
        "2.1 MB",
        "3.0 TB",
    ]
    assert [wording.duration(seconds) for seconds in (0.43, 12.2, 61, 7500)] == [
        "0.4 s",
        "12 s",
        "1 min 01 s",
        "2 h 05 min",
    ]
