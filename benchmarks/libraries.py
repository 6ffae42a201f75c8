"""Libraries of any size on both sides, made once and kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks import ours, rclip
from benchmarks.population import blocks, building, imagined, path_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from benchmarks.ours import Clipsearch
    from benchmarks.rclip import Rclip


@dataclass(frozen=True, slots=True)
class Libraries:
    """The same photos, indexed by either side.

    Attributes:
        root: Folder the photos are, or seem to be, in.
        ours: clipsearch's library.
        theirs: rclip's data folder.
    """

    root: Path
    ours: Path
    theirs: Path


class Sides:
    """Both programs, ready to run.

    Args:
        cache: Where everything is kept.
    """

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self.ours: Clipsearch = ours.prepare(cache)
        self.theirs: Rclip = rclip.prepare(cache, self.ours.model_folder)

    @property
    def names(self) -> tuple[str, str]:
        """Heads of the two columns."""
        return self.theirs.name, "clipsearch"

    def imagined(self, count: int) -> Libraries:
        """Libraries of photos that are on no disk."""

        def make_root(root: Path) -> Iterable[tuple[str, int, int]]:
            # An empty root would count as an unplugged drive.
            (root / "photos.txt").write_text("These photos exist in the library only.\n")
            return imagined(count)

        return self._libraries(f"imagined-{count}", make_root)

    def of_empty_files(self, count: int) -> Libraries:
        """Libraries of files that are there, with the size and time that the libraries know."""

        def make_root(root: Path) -> Iterable[tuple[str, int, int]]:
            for path in map(path_of, range(count)):
                file = root / path
                file.parent.mkdir(exist_ok=True)
                file.touch()
                yield path, 0, file.stat().st_mtime_ns

        return self._libraries(f"files-{count}", make_root)

    def _libraries(self, name: str, make_root: Callable[[Path], Iterable[tuple[str, int, int]]]) -> Libraries:
        base = self.cache / name
        made = Libraries(base / "photos", base / "clipsearch", base / "rclip")
        if not base.exists():
            print(f"filling {name} on both sides ...", flush=True)
            with building(base) as draft:
                (draft / "photos").mkdir()
                files = list(make_root(draft / "photos"))
                # The rows name the place where the photos will be.
                self.ours.fill(draft / "clipsearch", made.root, blocks(files))
                self.theirs.fill(self.theirs.data_folder(draft / "rclip"), made.root, blocks(files))
        return made
