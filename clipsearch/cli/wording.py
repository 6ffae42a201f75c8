"""Numbers, sizes, durations and dates in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

_MINUTE, _HOUR = 60, 3600
_KILO = 1000


def count(number: int, thing: str, things: str = "") -> str:
    """`1 photo`, `1,000 photos`, `2 copies`."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"


def size(number: int) -> str:
    """Bytes for people, in powers of 1000: `987 bytes`, `2.1 MB`."""
    if number < _KILO:
        return count(number, "byte")
    amount = float(number)
    for unit in ("kB", "MB", "GB"):
        amount /= _KILO
        if amount < _KILO:
            return f"{amount:.1f} {unit}"
    return f"{amount / _KILO:.1f} TB"


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds < 10:  # noqa: PLR2004 - below ten seconds, tenths are worth reading
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02} s"
    return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02} min"


def moment(when: datetime | None) -> str:
    """Date and time to the minute, on this machine's clock; empty when there is none."""
    return "" if when is None else when.astimezone().strftime("%Y-%m-%d %H:%M")


def clock(seconds: float) -> str:
    """A place in a video as players show it: `0:07`, `1:23`, `1:02:03`."""
    minutes, rest = divmod(int(seconds), _MINUTE)
    hours, minutes = divmod(minutes, _MINUTE)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def at(seconds: float | None) -> str:
    """What stands behind a video's name: `@ 1:23`; nothing behind a photo's."""
    return "" if seconds is None else f"@ {clock(seconds)}"
