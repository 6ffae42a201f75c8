"""Exit codes, the same for every command."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What a run tells the shell."""

    DONE = 0
    NOTHING_FOUND = 1  # as grep
    FAILED = 2
    INTERRUPTED = 130  # 128 + SIGINT, as a shell counts it
