"""The table at the end: both sides, their ratio, what is wanted, and the limit of the machine."""

from __future__ import annotations

import argparse
import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from platformdirs import user_cache_path
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clipsearch.machine import cpu_name, usable_cores

Unit = Literal["s", "ms", "photos/s", "MB", "kB", "%", "open", "requests/s", "requests"]
_SCALE: dict[Unit, float] = {
    "s": 1,
    "ms": 1e-3,
    "photos/s": 1,
    "MB": 1e6,
    "kB": 1e3,
    "%": 1,
    "open": 1,
    "requests/s": 1,
    "requests": 1,
}
_OUR_PACKAGES = ("numpy", "pillow", "torch", "open_clip_torch", "onnxruntime", "faiss-cpu")
_PLAIN_WIDTH = 132


@dataclass(frozen=True, slots=True)
class Wanted:
    """A bound on the ratio of the second side to the first, or, with `unit`, on the second side itself."""

    side: Literal["at most", "at least"]
    value: float
    unit: Unit | None = None

    def __str__(self) -> str:
        sign = "≤" if self.side == "at most" else "≥"
        return f"{sign} {self.value:g} {self.unit or 'x'}"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. Numbers in seconds, photos a second, or bytes.

    Attributes:
        what: What was measured.
        unit: How to show it.
        first: The peer, None where it cannot do this.
        second: clipsearch.
        wanted: Its target, None where there is none.
        limit: What the machine would allow, None where that has no meaning.
    """

    what: str
    unit: Unit
    first: float | None
    second: float
    wanted: Wanted | None = None
    limit: float | None = None

    @property
    def ratio(self) -> float | None:
        """Second to first."""
        return self.second / self.first if self.first else None

    @property
    def met(self) -> bool:
        """Whether the target holds; True without one."""
        if self.wanted is None:
            return True
        value = self.ratio if self.wanted.unit is None else self.second
        if value is None:
            return False
        return value <= self.wanted.value if self.wanted.side == "at most" else value >= self.wanted.value


def show(
    title: str, sides: tuple[str, str], rows: list[Row], *, notes: list[str], versions: list[str]
) -> int:
    """Print the table.

    Args:
        title: Above it.
        sides: Titles of the two columns.
        rows: Its lines.
        notes: Sentences below it: how it was measured, what the limit is.
        versions: Packages of the peer, if it took part.

    Returns:
        The exit code: 1 when a target is missed.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=_PLAIN_WIDTH)  # a log is no 80 columns wide
    table = Table(title=title, title_justify="left")
    for name in ("", *sides, "ratio", "wanted", "limit"):
        table.add_column(name, justify="right" if name else "left")
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.3g}"
        wanted = Text("" if row.wanted is None else str(row.wanted))
        if row.wanted is not None:
            wanted.append("  met" if row.met else "  missed", "green" if row.met else "bold red")
        numbers = [_spelled(number, row.unit) for number in (row.first, row.second)]
        table.add_row(row.what, *numbers, ratio, wanted, _spelled(row.limit, row.unit))
    console.print()
    console.print(table)
    for line in (*notes, *machine(), *versions):
        console.print(line, style="dim", highlight=False, markup=False)
    return int(not all(row.met for row in rows))


def machine() -> list[str]:
    """What the figures were measured on, and with which versions of ours."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    busy = os.getloadavg()[0]
    packages = ", ".join(f"{name} {version(name)}" for name in _OUR_PACKAGES)
    return [
        (
            f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {cpu_name()}, {usable_cores()} cores"
            f", {memory / 1e9:.0f} GB, {platform.system()} {platform.release()}, load average {busy:.1f}"
        ),
        f"clipsearch: Python {platform.python_version()}, {packages}",
    ]


def parser(description: str | None, *, rounds: int) -> argparse.ArgumentParser:
    """A parser with the options that all benchmarks share.

    Args:
        description: For the help text.
        rounds: How often each side is measured when the user does not say.
    """
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--rounds", type=int, default=rounds, help="measured runs a side (default %(default)s)")
    made.add_argument(
        "--cache",
        type=lambda text: Path(text).resolve(),
        default=user_cache_path("clipsearch-benchmarks", appauthor=False),
        metavar="DIR",
        help="where models, libraries and the peer are kept between runs (default %(default)s)",
    )
    return made


def _spelled(number: float | None, unit: Unit) -> str:
    if number is None:
        return "-"
    scaled = number / _SCALE[unit]
    digits = max(0, 3 - len(f"{abs(scaled):.0f}")) if scaled >= 1 else 3
    return f"{scaled:,.{digits}f} {unit}"
