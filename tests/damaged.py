"""A library on disk to be damaged: what it answers when it is whole, and what the commands say of it."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from clipsearch import Library
from clipsearch.cli import main

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

PHOTOS = 70
FILED = 50  # of which so many lie in a vector file; the others are read from the catalog


class Said(NamedTuple):
    """What one command did."""

    code: int
    out: str
    err: str


def scribble(path: Path, seed: int) -> Path:
    """A picture of random blocks: no two seeds look alike."""
    path.parent.mkdir(parents=True, exist_ok=True)
    blocks = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    Image.fromarray(blocks).resize((48, 36), Image.Resampling.NEAREST).save(path)
    return path


class Whole:
    """A library in good health, its photos, and its answers."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.photos = folder / "photos"
        self.library = folder / "library"
        for seed in range(FILED):
            scribble(self.photos / f"{seed % 3}/{seed:02}.png", seed)
        with Library.open(self.library) as library:
            library.index([self.photos], model=f"local-dir:{model}")
            for seed in range(FILED, PHOTOS):
                scribble(self.photos / f"{seed % 3}/{seed:02}.png", seed)
            library.index()
            self.backup = folder / "backup"
            library.back_up(self.backup)

    def copy(self, folder: Path) -> Path:
        """The library once more, to be damaged."""
        shutil.rmtree(folder, ignore_errors=True)
        return shutil.copytree(self.library, folder)


class Shell:
    """Runs commands in this process, on one library."""

    def __init__(self, library: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.library = library
        self._capfd = capfd

    def run(self, *arguments: object) -> Said:
        """One command; never does it end in a traceback."""
        self._capfd.readouterr()
        code = main([*map(str, arguments), "--library", str(self.library)])
        said = Said(code, *self._capfd.readouterr())
        for wrong in ("Traceback", "internal error"):
            assert wrong not in said.err, (arguments, said)
        assert said.code in (0, 1, 2), (arguments, said)
        if said.code == 2:
            assert said.err.startswith("error: ") or "\nerror: " in said.err, (arguments, said)
        return said

    def search(self) -> tuple[Said, dict[str, float]]:
        """Every photo with its score for one text."""
        said = self.run("search", "a red house", "-n", 1000, "--format", "json")
        return said, {match["path"]: match["score"] for match in json.loads(said.out or "[]")}

    def similar(self, photo: Path) -> tuple[Said, dict[str, float]]:
        """Every photo with its score for another."""
        said = self.run("similar", photo, "-n", 1000, "--format", "json")
        return said, {match["path"]: match["score"] for match in json.loads(said.out or "[]")}

    def classify(self) -> tuple[Said, dict[str, float]]:
        """Every photo with its probability of the first of two labels."""
        said = self.run("classify", "--labels", "house,dog", "--format", "csv")
        lines = (line.split(",") for line in said.out.splitlines()[1:])
        return said, {cells[0]: float(cells[-1]) for cells in lines}


def same(found: dict[str, float], wanted: dict[str, float]) -> bool:
    """The same photos, with the same scores but for what embedding them in another batch changes."""
    return found.keys() == wanted.keys() and all(abs(found[path] - wanted[path]) < 2e-3 for path in wanted)
