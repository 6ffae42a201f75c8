"""Our side: the `clipsearch` command, as a process of its own, and libraries filled through its catalog."""

from __future__ import annotations

import compileall
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.model import make_model
from benchmarks.population import building
from benchmarks.process import Command, in_own_process
from clipsearch import vector_files
from clipsearch.catalog.catalog import Arrival, Catalog
from clipsearch.encoders import open_image_encoder, registry
from clipsearch.types import Listeners, Metadata

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.population import PhotoRow
    from clipsearch.types import Model

PROJECT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Clipsearch:
    """The command with a model that is ready for use.

    Attributes:
        cache: For `CLIPSEARCH_CACHE`; holds the exported towers.
        model_folder: The model in OpenCLIP's hub layout.
        model: Its identity.
    """

    cache: Path
    model_folder: Path
    model: Model

    def command(self, library: Path, *arguments: str) -> Command:
        """Any command on a library."""
        return Command(
            (sys.executable, "-m", "clipsearch", *arguments, "--library", str(library)),
            PROJECT,
            {"CLIPSEARCH_CACHE": str(self.cache)},
        )

    def index(self, library: Path, root: Path) -> Command:
        """Index a folder into a new library."""
        return self.command(library, "index", str(root), "--model", f"local-dir:{self.model_folder}")

    def count(self, library: Path) -> int:
        """Photos in a library."""
        with Catalog(library) as catalog:
            return catalog.count_photos()

    def fill(self, library: Path, root: Path, blocks: Iterable[list[PhotoRow]]) -> None:
        """Make a library as `index` would have left it."""
        library.mkdir()
        with Catalog(library, write=True) as catalog:
            key = catalog.choose_model(self.model)
            folder = catalog.add_root(root, [])
            for block in blocks:
                arrivals = [
                    Arrival(
                        folder,
                        row.path.encode(),
                        row.size,
                        row.mtime_ns,
                        row.digest,
                        facts=(4000, 3000, Metadata()),
                        vector=row.vector,
                    )
                    for row in block
                ]
                catalog.record(arrivals, [], key)
            vector_files.refresh(catalog, library, key, self.model)


def prepare(cache: Path) -> Clipsearch:
    """Make the random model and let clipsearch do what it does once a model, unless that was done before."""
    folder = cache / "model"
    if not folder.exists():
        print("making the random model ...", flush=True)
        with building(folder) as draft:
            in_own_process(make_model, draft)
    # As pip leaves a package; an environment variable may keep Python from doing so by itself.
    compileall.compile_dir(PROJECT / "clipsearch", quiet=1)
    model_cache = cache / "clipsearch-cache"
    model = in_own_process(prepared, f"{registry.DIR_PREFIX}{folder}", model_cache)
    return Clipsearch(model_cache, folder, model)


def prepared(model: str, model_cache: Path) -> Model:
    """Let the towers be exported and the fastest engine be found; at once when that was done before."""
    os.environ["CLIPSEARCH_CACHE"] = str(model_cache)
    return open_image_encoder(registry.resolve(model), listeners=Listeners(notice=print)).model
