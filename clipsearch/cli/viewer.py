"""The system's viewer, and players that begin where they are told to."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from clipsearch.cli.terminal import remark, shown

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_PATIENCE_S = 3.0  # a program that hands the file on has ended by then, or is the viewer itself


# The system's own way to open a file knows no place in it. https://mpv.io/manual/stable/#options-start,
# https://docs.videolan.me/vlc-user (--start-time), https://github.com/iina/iina (command line)
_PLAYERS = (
    ("mpv", "--start={seconds}"),
    ("iina", "--mpv-start={seconds}"),
    ("vlc", "--start-time={seconds}"),
)


def view(file: Path, seconds: float | None = None) -> None:
    """Open a file in whatever the system opens such files with, and do not wait for that to be closed.

    Args:
        file: Absolute path.
        seconds: Where to begin in a video; where there is no player that can, it begins at its start.
    """
    if seconds:
        for player, option in _PLAYERS:
            if program := shutil.which(player):
                _start([program, option.format(seconds=f"{seconds:.3f}"), file], player, file)
                return
    if sys.platform == "win32":
        import os

        os.startfile(file)  # noqa: S606 - the user asked for it
        return
    opener = "open" if sys.platform == "darwin" else "xdg-open"
    _start([opener, file], opener, file)


def _start(command: Sequence[str | Path], opener: str, file: Path) -> None:
    try:
        process = subprocess.Popen(  # noqa: S603 - a fixed program, an absolute path
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is not for the viewer
        )
    except OSError as error:
        remark(f"not opened: {opener} cannot be started ({(error.strerror or str(error)).lower()})")
        return
    try:
        code = process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        return
    if code:
        remark(f"not opened: {opener} found no program for {shown(file)}")
