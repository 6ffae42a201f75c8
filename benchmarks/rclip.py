"""The peer: rclip from PyPI, in an environment of its own, with the model and the rows of our choice."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.model import copy_vocabulary, export_for_rclip
from benchmarks.population import building
from benchmarks.process import Command, in_own_process, output_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from benchmarks.population import PhotoRow

VERSION = "3.3.0"
_MODEL = "ViT-B-32-256-datacomp_s34b_b86k"
_PACKAGES = ("numpy", "pillow", "onnxruntime")
# rclip has no command that indexes and does nothing else. This is its own start-up, as in `rclip.main`,
# without the query that follows.
_INDEX = """
import os
from rclip.main import init_rclip
rclip, model, database = init_rclip(os.getcwd(), indexing_batch_size=8)
rclip.close()
model.close()
database.close()
"""
_INSERT = "INSERT INTO images (filepath, modified_at, size, vector, hash) VALUES (?, ?, ?, ?, ?)"
_MAKE_DATABASE = "import sys; from rclip.db import DB; DB(sys.argv[1]).close()"


@dataclass(frozen=True, slots=True)
class Rclip:
    """An installed rclip with its models.

    Attributes:
        environment: Its virtual environment.
        models: A data folder without a database.
    """

    environment: Path
    models: Path

    @property
    def name(self) -> str:
        """For the head of a column."""
        return f"rclip {VERSION}"

    @property
    def visual(self) -> Path:
        """The image tower."""
        return self.models / _MODEL / "visual.onnx"

    def versions(self) -> str:
        """What it runs on."""
        code = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
        command = Command((self._program("python"), "-c", code, *_PACKAGES), self.environment)
        found = zip(_PACKAGES, output_of(command).split(), strict=True)
        return f"{self.name}: {', '.join(f'{name} {number}' for name, number in found)}"

    def data_folder(self, folder: Path) -> Path:
        """A data folder with the models in it and no database yet."""
        folder.mkdir(parents=True, exist_ok=True)
        for item in self.models.iterdir():
            (folder / item.name).symlink_to(item)
        return folder

    def search(self, data: Path, root: Path, query: str, *, paths: bool = False) -> Command:
        """A text query over the photos below `root`, without a look at the disk."""
        options = ("-f",) if paths else ()
        return self._command(data, root, self._program("rclip"), "-n", *options, query)

    def index(self, data: Path, root: Path) -> Command:
        """Bring the photos below `root` up to date."""
        return self._command(data, root, self._program("python"), "-c", _INDEX)

    def fill(self, data: Path, root: Path, blocks: Iterable[list[PhotoRow]]) -> None:
        """Make the database of a data folder, by rclip's own code, and put rows in."""
        path = data / "db.sqlite3"
        output_of(Command((self._program("python"), "-c", _MAKE_DATABASE, str(path)), data))
        with closing(sqlite3.connect(path)) as database:
            for block in blocks:
                with database:
                    database.executemany(
                        _INSERT,
                        [
                            (
                                f"{root}{os.sep}{row.path}",
                                _seconds(row.mtime_ns),
                                row.size,
                                row.vector.tobytes(),
                                row.digest.hex(),
                            )
                            for row in block
                        ],
                    )

    def count(self, data: Path) -> int:
        """Photos in a database."""
        with closing(sqlite3.connect(data / "db.sqlite3")) as database:
            (found,) = database.execute("SELECT count(*) FROM images WHERE deleted IS NULL").fetchone()
        return int(found)

    def _program(self, name: str) -> str:
        return str(self.environment / "bin" / name)

    def _command(self, data: Path, root: Path, *arguments: str) -> Command:
        return Command(arguments, root, {"RCLIP_DATADIR": str(data)})


def _seconds(mtime_ns: int) -> float:
    """Modification time as `os.stat` rounds it: rclip asks for equality to the last bit."""
    whole, rest = divmod(mtime_ns, 1_000_000_000)
    return whole + 1e-9 * rest


def prepare(cache: Path, model: Path) -> Rclip:
    """Install rclip and export the model for it, unless that was done before.

    Args:
        cache: Where to keep both.
        model: The model's folder in OpenCLIP's hub layout.
    """
    environment = cache / f"rclip-{VERSION}"
    if not (environment / "bin" / "rclip").exists():
        print(f"installing rclip {VERSION} ...", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", environment], check=True)
        pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, f"rclip=={VERSION}"], check=True)
    models = cache / "rclip-models"
    if not models.exists():
        print("exporting the model for rclip ...", flush=True)
        with building(models) as draft:
            (draft / _MODEL).mkdir()
            in_own_process(export_for_rclip, model, draft / _MODEL)
            in_own_process(copy_vocabulary, draft / "tokenizer" / "bpe_simple_vocab_16e6.txt.gz")
    return Rclip(environment, models)
