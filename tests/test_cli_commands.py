from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from conftest import CACHE
from PIL import Image

from clipsearch.cli import main
from clipsearch.cli.progress import Reporter
from clipsearch.cli.terminal import shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from clipsearch.types import IndexProgress

AWKWARD = [
    b"[red]two  spaces[/]".replace(b"/", b":") + b" .png",
    b"two\nlines.png",
    b"latin-\xe9.png",
    b"\x1b[31mred.png",
    "grüße 日本 👨‍👩‍👧.png".encode(),
]
COLOURS = 60


@dataclass(frozen=True)
class Indexed:
    """A library that the command line has made, and its photos."""

    home: Path
    model: str
    report: dict[str, Any]

    @property
    def photos(self) -> Path:
        return self.home / "photos"

    def environment(self) -> dict[str, str]:
        return {
            "CLIPSEARCH_LIBRARY": str(self.home / "library"),
            "CLIPSEARCH_CACHE": str(self.home / "cache"),
            "HF_HOME": str(self.home / "hub"),
        }


def make_photos(folder: Path) -> None:
    (folder / "coloured").mkdir(parents=True)
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = "2024:05:01 12:30:00"  # DateTimeOriginal
    for number in range(COLOURS):
        picture = Image.new("RGB", (40, 30), (number * 4, 255 - number * 4, number * 37 % 256))
        picture.putpixel((number % 40, 5), (255, 255, 255))
        picture.save(folder / "coloured" / f"{number}.jpg", exif=exif)
    for number, name in enumerate(AWKWARD):
        picture = Image.linear_gradient("L").rotate(number * 60).resize((40, 40)).convert("RGB")
        with open(os.fsencode(folder) + b"/" + name, "wb") as file:  # noqa: PTH123 - a name in bytes
            picture.save(file, format="PNG")
    shutil.copy(folder / "coloured" / "7.jpg", folder / "copy of 7.jpg")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff no photo")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_models: Path) -> Indexed:
    """The one library of these tests."""
    home = tmp_path_factory.mktemp("cli")
    make_photos(home / "photos")
    shutil.copytree(tiny_models / CACHE, home / "cache")
    made = Indexed(home, f"local-dir:{tiny_models / 'clip'}", {})
    command = [sys.executable, "-m", "clipsearch", "index", str(home / "photos"), "--json"]
    command += ["--model", made.model, "--device", "cpu"]
    environment = os.environ | made.environment()
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    made.report.update(json.loads(done.stdout))
    return made


@pytest.fixture
def indexed(made: Indexed, monkeypatch: pytest.MonkeyPatch) -> Indexed:
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def own_copy(indexed: Indexed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the library that a test may change."""
    shutil.copytree(indexed.home / "library", tmp_path / "library")
    monkeypatch.setenv("CLIPSEARCH_LIBRARY", str(tmp_path / "library"))
    return tmp_path / "library"


Capture = pytest.CaptureFixture[bytes]


def answer(capture: Capture, *arguments: str, code: int = 0) -> bytes:
    assert main(arguments) == code, capture.readouterr().err.decode()
    return capture.readouterr().out


def answer_json(capture: Capture, *arguments: str) -> Any:
    return json.loads(answer(capture, *arguments))


def complaint(capture: Capture, *arguments: str) -> str:
    """What the command says when it fails; checks that it is an error, a hint and nothing else."""
    assert main(arguments) == 2
    captured = capture.readouterr()
    assert captured.out == b""
    lines = captured.err.decode().splitlines()
    assert lines[0].startswith("error: ")
    assert all(line.startswith(("hint: ", "      ")) for line in lines[1:])
    assert "internal error" not in lines[0]
    return "\n".join(lines)


# -- index ---------------------------------------------------------------------------------------


def test_the_report_of_the_first_run_counts_every_file(indexed: Indexed) -> None:
    counts = {name: indexed.report[name] for name in ("new", "copied", "skipped", "embedded", "interrupted")}
    assert counts == {
        "new": COLOURS + len(AWKWARD),
        "copied": 1,
        "skipped": 1,
        "embedded": COLOURS + len(AWKWARD),
        "interrupted": False,
    }


def test_a_second_run_is_up_to_date(own_copy: Path, capsysbinary: Capture) -> None:
    out = answer(capsysbinary, "index", "--library", str(own_copy)).decode()
    assert out.startswith("Up to date")
    assert f"unchanged       {COLOURS + len(AWKWARD) + 1}" in out
    assert "skipped before   1" in out
    assert "new" not in out


def test_an_empty_folder_is_nothing_found(tmp_path: Path, capsysbinary: Capture) -> None:
    assert main(["index", str(tmp_path)]) == 1
    captured = capsysbinary.readouterr()
    assert (captured.out, captured.err) == (b"", b"no photos found\n")


def test_folders_that_are_none_are_refused(indexed: Indexed, tmp_path: Path, capsysbinary: Capture) -> None:
    assert str(tmp_path / "none") in complaint(capsysbinary, "index", str(tmp_path / "none"))
    file = indexed.photos / "coloured" / "1.jpg"
    assert str(file) in complaint(capsysbinary, "index", str(file))


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(
    indexed: Indexed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: Capture
) -> None:
    monkeypatch.setenv("CLIPSEARCH_LIBRARY", str(tmp_path / "library"))
    show = Reporter.index

    def press(reporter: Reporter, progress: IndexProgress) -> None:
        show(reporter, progress)
        if progress.phase == "embed" and signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Reporter, "index", press)
    arguments = [
        "index",
        str(indexed.photos),
        "--model",
        indexed.model,
        "--batch-size",
        "8",
        "--device",
        "cpu",
    ]
    assert main(arguments) == 130
    captured = capsysbinary.readouterr()
    assert captured.out.decode().startswith("Stopped early")
    assert f"Run `clipsearch index --model {indexed.model}` again to go on." in captured.out.decode()
    monkeypatch.setattr(Reporter, "index", show)
    report = answer_json(capsysbinary, "index", "--json", "--device", "cpu")
    assert not report["interrupted"]
    status = answer_json(capsysbinary, "status", "--json")
    assert status["photos"] == COLOURS + len(AWKWARD) + 1


# -- search and similar ----------------------------------------------------------------------------


def test_every_format_gives_the_same_matches(indexed: Indexed, capsysbinary: Capture) -> None:
    matches = answer_json(capsysbinary, "search", "a red square", "-n", "100", "--format", "json")
    assert len(matches) == COLOURS + len(AWKWARD) + 1
    assert [match["rank"] for match in matches] == list(range(1, len(matches) + 1))
    scores = [match["score"] for match in matches]
    assert scores == sorted(scores, reverse=True)
    by_path = {match["path"]: match for match in matches}
    assert by_path[str(indexed.photos / "coloured" / "3.jpg")]["taken"] == "2024-05-01T12:30:00"
    assert {os.fsencode(path) for path in by_path} >= {
        os.fsencode(indexed.photos) + b"/" + name for name in AWKWARD
    }

    lines = answer(
        capsysbinary, "search", "a", "red", "square", "-n", "100", "--format", "jsonl"
    ).splitlines()
    assert [json.loads(line) for line in lines] == matches
    null = answer(capsysbinary, "search", "a red square", "-n", "100", "-0")
    assert null == b"".join(os.fsencode(match["path"]) + b"\0" for match in matches)
    text = answer(capsysbinary, "search", "a red square", "-n", "100", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(text.decode("utf-8", "surrogateescape"), newline="")))
    assert [row["path"] for row in rows] == [match["path"] for match in matches]
    table = answer(capsysbinary, "search", "a red square", "-n", "100").decode().splitlines()
    assert table == [
        "\t".join(
            (
                str(match["rank"]),
                f"{match['score']:.3f}",
                match["strength"],
                (match["taken"] or "")[:10],
                shown(match["path"]),
            )
        )
        for match in matches
    ]


def test_a_photo_finds_its_copy_but_itself_only_on_request(indexed: Indexed, capsysbinary: Capture) -> None:
    photo, copy = indexed.photos / "coloured" / "7.jpg", indexed.photos / "copy of 7.jpg"
    with_self = answer_json(
        capsysbinary, "similar", str(photo), "--include-self", "-n", "2", "--format", "json"
    )
    assert {match["path"] for match in with_self} == {str(photo), str(copy)}
    assert all(match["score"] >= 0.999 for match in with_self)
    others = answer_json(capsysbinary, "similar", str(photo), "-n", "100", "--format", "json")
    assert {str(photo), str(copy)}.isdisjoint(match["path"] for match in others)


def test_in_limits_the_answer_to_a_folder(indexed: Indexed, capsysbinary: Capture) -> None:
    arguments = ["search", "green", "--in", str(indexed.photos / "coloured"), "-n", "99", "--format", "paths"]
    assert len(answer(capsysbinary, *arguments).splitlines()) == COLOURS


def test_terms_can_be_added_and_subtracted(indexed: Indexed, capsysbinary: Capture) -> None:
    photo = str(indexed.photos / "coloured" / "20.jpg")
    plain = answer_json(capsysbinary, "search", "green", "--format", "json")
    mixed = answer_json(
        capsysbinary, "search", "--add", f"2:{photo}", "--subtract", "green", "--format", "json"
    )
    assert mixed[0]["path"] == photo
    assert mixed != plain


def test_no_match_is_exit_1_and_an_empty_output(indexed: Indexed, capsysbinary: Capture) -> None:
    del indexed
    for output in ("table", "json", "csv", "paths"):
        assert answer(capsysbinary, "search", "x", "--min-score", "1", "--format", output, code=1) == b""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["search", ""], ""),
        (["search"], ""),
        (["similar", "/no/such/file.jpg"], "/no/such/file.jpg"),
        (["classify", "--labels", "cat", "--template", "no braces"], "no braces"),
        (["forget", "/no/such/root"], "/no/such/root"),
        (["relocate", "/no/such/root", "/tmp"], "/no/such/root"),
        (["index", "--model", "ViT-B-32-256/datacom"], "datacomp"),
    ],
)
def test_bad_input_is_one_clear_error(
    arguments: list[str], says: str, own_copy: Path, capsysbinary: Capture
) -> None:
    assert own_copy.is_dir()
    assert says in complaint(capsysbinary, *arguments)


def test_a_query_picture_that_is_none_is_refused(indexed: Indexed, capsysbinary: Capture) -> None:
    assert "broken.jpg" in complaint(capsysbinary, "similar", str(indexed.photos / "broken.jpg"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["search", "dog"],
        ["similar", "a.jpg"],
        ["classify", "--labels", "cat"],
        ["status"],
        ["status", "--skipped"],
        ["forget", "/photos"],
        ["relocate", "/photos", "/tmp"],
    ],
)
def test_without_a_library_the_error_says_to_index_first(arguments: list[str], capsysbinary: Capture) -> None:
    assert "clipsearch index" in complaint(capsysbinary, *arguments)


def test_an_output_that_is_not_unicode_breaks_nothing(indexed: Indexed) -> None:
    command = [sys.executable, "-m", "clipsearch", "similar", str(indexed.photos / "coloured" / "7.jpg")]
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run([*command, "-n", "99"], env=environment, capture_output=True, check=True)
    assert done.stderr == b""
    assert rb"gr\xfc\xdfe \u65e5\u672c" in done.stdout


# -- classify --------------------------------------------------------------------------------------


def test_classify_gives_every_label_in_json_and_csv(indexed: Indexed, capsysbinary: Capture) -> None:
    labels = indexed.home / "labels.txt"
    labels.write_bytes(b"a cat, asleep\r\n\r\ndog\r\n")
    arguments = ["classify", "--labels", "bird", "--labels-file", str(labels)]
    records = answer_json(capsysbinary, *arguments, "--format", "json")
    assert len(records) == COLOURS + len(AWKWARD) + 1
    for record in records:
        assert list(record["probabilities"]) == ["bird", "a cat, asleep", "dog"]
        assert sum(record["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert record["probability"] == max(record["probabilities"].values())
        assert record["probabilities"][record["label"]] == record["probability"]
    text = answer(capsysbinary, *arguments, "--format", "csv").decode("utf-8", "surrogateescape")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["path"] for row in rows] == [record["path"] for record in records]
    assert [float(row["a cat, asleep"]) for row in rows] == [
        record["probabilities"]["a cat, asleep"] for record in records
    ]
    assert len(answer(capsysbinary, *arguments, "--format", "paths", "-n", "3").splitlines()) == 3


def test_classify_on_a_terminal_lists_fifty_and_counts_all(
    indexed: Indexed, monkeypatch: pytest.MonkeyPatch, capsysbinary: Capture
) -> None:
    del indexed
    monkeypatch.setattr("clipsearch.cli.classify.on_terminal", lambda: True)
    assert main(["classify", "--labels", "cat,dog", "--top", "5"]) == 0
    captured = capsysbinary.readouterr()
    rows = captured.out.decode().splitlines()
    assert len(rows) == 50
    assert all(len(row.split("\t")) == 5 for row in rows)
    hidden = COLOURS + len(AWKWARD) + 1 - 50
    summary = captured.err.decode()
    assert f"{hidden} more" in summary
    counts = [line.split()[:2] for line in summary.splitlines() if line.startswith(("cat", "dog"))]
    assert sum(int(number) for _, number in counts) == COLOURS + len(AWKWARD) + 1


def test_classify_named_files_and_leave_out_the_unsure(indexed: Indexed, capsysbinary: Capture) -> None:
    photo = str(indexed.photos / "coloured" / "7.jpg")
    (record,) = answer_json(capsysbinary, "classify", photo, "--labels", "cat,dog", "--format", "json")
    assert record["path"] == photo
    sure = str(record["probability"] - 0.001)
    unsure = str(record["probability"] + 0.001)
    arguments = ["classify", photo, "--labels", "cat,dog"]
    assert answer(capsysbinary, *arguments, "--min-prob", sure) != b""
    assert answer(capsysbinary, *arguments, "--min-prob", unsure, code=1) == b""


def test_classify_names_the_files_it_cannot_read(indexed: Indexed, capsysbinary: Capture) -> None:
    photo = str(indexed.photos / "coloured" / "7.jpg")
    assert main(["classify", photo, "/no/such/file.jpg", "--labels", "cat,dog"]) == 0
    captured = capsysbinary.readouterr()
    assert len(captured.out.splitlines()) == 1
    assert b"/no/such/file.jpg" in captured.err
    assert main(["classify", "/no/such/file.jpg", "--labels", "cat,dog"]) == 2
    captured = capsysbinary.readouterr()
    assert captured.out == b""
    assert captured.err.startswith(b"error: no such file: /no/such/file.jpg\n")


# -- status, forget, relocate ------------------------------------------------------------------------


def test_status_names_the_model_the_folders_and_the_counts(indexed: Indexed, capsysbinary: Capture) -> None:
    text = answer(capsysbinary, "status").decode()
    total = COLOURS + len(AWKWARD) + 1
    assert indexed.model in text
    assert f"photos    {total}, of which 1 copy" in text
    assert "online" in text
    assert str(indexed.photos) in text
    record = answer_json(capsysbinary, "status", "--json")
    assert (record["photos"], record["contents"], record["skipped"]) == (total, total - 1, 1)
    assert record["roots"][0]["path"] == str(indexed.photos)
    assert record["last_run"]["new"] == indexed.report["new"]


def test_skipped_files_come_with_their_reason(indexed: Indexed, capsysbinary: Capture) -> None:
    broken = str(indexed.photos / "broken.jpg")
    reason, path = answer(capsysbinary, "status", "--skipped").decode().rstrip("\n").split("\t")
    assert path == broken
    (record,) = answer_json(capsysbinary, "status", "--skipped", "--json")
    assert (record["path"], record["reason"]) == (broken, reason)
    assert answer(capsysbinary, "status", "--skipped", "-0") == os.fsencode(broken) + b"\0"


def test_relocate_and_forget_say_how_many_photos(
    indexed: Indexed, own_copy: Path, tmp_path: Path, capsysbinary: Capture
) -> None:
    assert own_copy.is_dir()
    moved = tmp_path / "moved"
    shutil.copytree(indexed.photos, moved)
    total = COLOURS + len(AWKWARD) + 1
    out = answer(capsysbinary, "relocate", str(indexed.photos), str(moved)).decode()
    assert out == f"{total} photos carried over from {indexed.photos} to {moved}.\n"
    out = answer(capsysbinary, "forget", str(moved)).decode()
    assert out.startswith(f"{total} photos of {moved} left the library.")
    assert (moved / "coloured" / "7.jpg").is_file()
    assert answer_json(capsysbinary, "status", "--json")["photos"] == 0


@pytest.mark.parametrize(
    "command", [["search", "dog"], ["similar", "{photo}"], ["classify", "--labels", "cat,dog"]]
)
def test_questions_are_answered_without_torch(indexed: Indexed, command: list[str]) -> None:
    photo = str(indexed.photos / "coloured" / "7.jpg")
    program = (
        "import sys; from clipsearch.cli import main; code = main(sys.argv[1:]);"
        "print({'torch', 'open_clip', 'transformers', 'PIL'} & set(sys.modules), file=sys.stderr);"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *(word.format(photo=photo) for word in command)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert str(indexed.photos) in done.stdout
    assert done.stderr.splitlines()[-1] == "set()"
