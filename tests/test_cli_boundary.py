from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from clipsearch import __version__
from clipsearch.cli import main, models
from clipsearch.cli.app import COMMANDS, application
from clipsearch.cli.index import StopOnInterrupt
from clipsearch.cli.progress import STOPPING, Reporter
from clipsearch.errors import ClipsearchError

if TYPE_CHECKING:
    from collections.abc import Sequence

README = Path(__file__).parent.parent / "README.md"


def raising(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(models, "print_models", fail)


def command_names(arguments: Sequence[str] = ()) -> list[str]:
    commands = application(arguments).registered_commands
    return [command.name or command.callback.__name__ for command in commands if command.callback]


def test_help_and_version_import_nothing_heavy() -> None:
    script = (
        "import sys; from clipsearch.cli import main; code = main(sys.argv[1:])\n"
        "heavy = {'numpy', 'torch', 'faiss', 'PIL', 'onnxruntime', 'sqlite3'} & set(sys.modules)\n"
        "print(sorted(heavy), file=sys.stderr); sys.exit(code)"
    )
    for arguments in (["--help"], ["search", "--help"], ["--version"], ["models"]):
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True
        )
        assert done.stderr == "[]\n", arguments


def test_a_command_line_gets_the_command_it_names() -> None:
    everything = application()
    names = command_names() + [str(group.name) for group in everything.registered_groups]
    assert sorted(names) == sorted(name for commands in COMMANDS.values() for name in commands)
    for name in names:
        part = application([name])
        assert [*command_names([name]), *(group.name for group in part.registered_groups)] == [name]


def test_every_command_has_a_help_text_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    for name in command_names():
        assert main([name, "-h"]) == 0
        out = capsys.readouterr().out
        assert f"clipsearch {name}" in out
        assert "Examples" in out


def test_every_command_is_in_the_readme() -> None:
    readme = README.read_text(encoding="utf-8")
    assert [name for name in command_names() if f"clipsearch {name}" not in readme] == []


def test_bare_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "search" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"clipsearch {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["serach", "dog"], "search"),
        (["search", "dog", "--limit", "0"], "--limit"),
        (["search", "dog", "--limit", "many"], "--limit"),
        (["search", "dog", "--min-score", "nan"], "not a number"),
        (["search", "dog", "--format", "pdf"], "'pdf' is not one of"),
        (["search", "dog", "-0", "--format", "json"], "-0"),
        (["similar"], "IMAGE"),
        (["classify"], "no labels"),
        (["classify", "--labels", "cat,dog,cat"], "'cat'"),
        (["classify", "--labels", "cat", "--min-prob", "2"], "--min-prob"),
        (["classify", "--labels", "cat", "--top", "0"], "--top"),
        (["index", "--device", "tpu"], "'tpu' is not one of"),
        (["index", "--batch-size", "none"], "--batch-size"),
        (["status", "-0"], "--skipped"),
        (["forget"], "FOLDER"),
        (["--wrong"], "--wrong"),
    ],
)
def test_a_wrong_command_line_is_one_clear_line_and_exit_2(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    error, hint = err.splitlines()
    assert error.startswith("error: ")
    assert says in error
    assert hint.startswith("hint: ")


def test_an_expected_error_is_its_message_and_hint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raising(ClipsearchError("no [bold]such[/] file:\n\x1b[31m", "first\nsecond"), monkeypatch)
    assert main(["models"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        r"error: no [bold]such[/] file:\n\x1b[31m",
        "hint: first",
        "      second",
    ]


def test_an_unexpected_error_is_one_line_and_a_traceback_only_on_request(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raising(ZeroDivisionError("division by zero"), monkeypatch)
    monkeypatch.delenv("CLIPSEARCH_DEBUG", raising=False)
    assert main(["models"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: internal error: ZeroDivisionError: division by zero")
    assert "CLIPSEARCH_DEBUG=1" in line
    monkeypatch.setenv("CLIPSEARCH_DEBUG", "1")
    assert main(["models"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupt_is_exit_130_and_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raising(KeyboardInterrupt(), monkeypatch)
    assert main(["models"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_reader_that_leaves_early_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        done = subprocess.run(
            [sys.executable, "-m", "clipsearch", "models"], stdout=pipe, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_under_the_output_is_one_line_and_exit_2() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "clipsearch", "models"], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: No space left on device\n")


def test_shell_completion_completes_commands() -> None:
    environment = os.environ | {
        "_CLIPSEARCH_COMPLETE": "complete_bash",
        "COMP_WORDS": "clipsearch cla",
        "COMP_CWORD": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "clipsearch"], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.split() == ["classify"]


def test_the_first_ctrl_c_asks_to_stop_and_the_second_interrupts(capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    with Reporter() as reporter, StopOnInterrupt(reporter) as stop:
        assert not stop()
        signal.raise_signal(signal.SIGINT)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    assert re.sub(r"\s+", " ", capfd.readouterr().err).strip() == STOPPING


def test_an_ignored_ctrl_c_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Reporter() as reporter, StopOnInterrupt(reporter) as stop:
            signal.raise_signal(signal.SIGINT)
            assert not stop()
    finally:
        signal.signal(signal.SIGINT, before)
