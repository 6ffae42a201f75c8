"""The system's viewer."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from clipsearch.cli.terminal import remark, shown

if TYPE_CHECKING:
    from pathlib import Path

_PATIENCE_S = 3.0  # a program that hands the file on has ended by then, or is the viewer itself


def view(file: Path) -> None:
    """Open a file in whatever the system opens such files with, and do not wait for that to be closed."""
    if sys.platform == "win32":
        import os

        os.startfile(file)  # noqa: S606 - the user asked for it
        return
    opener = "open" if sys.platform == "darwin" else "xdg-open"
    try:
        process = subprocess.Popen(  # noqa: S603 - a fixed program, an absolute path
            [opener, file],
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
