"""A real Milvus server for tests, started and killed by them.

It binds every interface, so it is only started where `.ci/cluster` runs the tests: in a network namespace
that has nothing but loopback. `CLIPSEARCH_TEST_MILVUS` names its program: `milvus-server`, of the package
`milvus`.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

PROGRAM = "CLIPSEARCH_TEST_MILVUS"
_START_S = 180
_READY = b"Ctrl+C to exit"  # the last line that it writes


class MilvusServer:
    """One server on one folder of data.

    Args:
        folder: Its data, kept over restarts.
        options: Further ones of the program.
    """

    def __init__(self, folder: Path, options: Sequence[str] = ()) -> None:
        program = os.environ.get(PROGRAM)
        if program is None:
            pytest.skip(f"needs a Milvus server: {PROGRAM}=.../milvus-server, in a namespace of its own")
        assert _interfaces() == {"lo"}, "the server would be reachable from outside"
        self.port = _free_port()
        self._command = [program, "--data", str(folder), "--proxy-port", str(self.port), *options]
        self._log = folder.with_name(f"{folder.name}.log")
        self._starts = 0
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(exist_ok=True)

    @property
    def address(self) -> str:
        """Of a collection named `photos`."""
        return f"milvus://127.0.0.1:{self.port}/photos"

    def start(self) -> None:
        """Start it; it answers on return, to whoever it lets in."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, start_new_session=True, cwd=self._log.parent
            )
        self._starts += 1
        end = time.monotonic() + _START_S
        while self._log.read_bytes().count(_READY) < self._starts:
            assert self._process.poll() is None, self._log.read_text()[-2000:]
            assert time.monotonic() < end, self._log.read_text()[-2000:]
            time.sleep(0.5)

    def kill(self) -> None:
        """`kill -9`, the program and all that it has started."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def pause(self, *, on: bool) -> None:
        """Let it hang, or go on."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP if on else signal.SIGCONT)


def clipsearch(*words: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "clipsearch", *words],
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
    )


def _interfaces() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
