"""How the library's pictures look: from the catalog, or from the files, and then remembered."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from clipsearch.catalog.catalog import Catalog
from clipsearch.catalog.likenesses import digests, known, record
from clipsearch.errors import LibraryBusyError, LibraryWriteError, PhotoError
from clipsearch.machine import usable_cores
from clipsearch.photos.files import read_bytes
from clipsearch.photos.guarded import Decoder
from clipsearch.photos.likeness import SHARPNESS_SIDE, likeness_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from clipsearch.catalog.scope import Scope
    from clipsearch.types import Likeness, Listeners, Photo

# Pictures that are read between two commits: what a kill may lose.
_BATCH = 256


def likenesses(
    catalog: Catalog,
    contents: Sequence[int],
    scope: Scope,
    listeners: Listeners,
    progress: Callable[[int, int], None],
) -> dict[int, Likeness]:
    """How contents look, those left out that cannot be read or have changed since they were indexed.

    Interrupted, it keeps what was found so far.

    Args:
        catalog: Open.
        contents: Their ids.
        scope: The photos that may be read for them.
        listeners: Told what was left out.
        progress: Told of contents looked at, and of how many.
    """
    found = known(catalog, contents)
    missing = [content for content in contents if content not in found]
    if not missing:
        return found
    lost = 0
    with ExitStack() as stack:
        memory = stack.enter_context(_Memory(catalog, listeners))
        decoder = stack.enter_context(Decoder())
        pool = stack.enter_context(ThreadPoolExecutor(usable_cores(), thread_name_prefix="look"))
        for start in range(0, len(missing), _BATCH):
            part = missing[start : start + _BATCH]
            photos, sums = catalog.photos(part, scope), digests(catalog, part)
            looks = pool.map(
                lambda content, held=photos, sums=sums: _look(
                    held.get(content, ()), sums.get(content), decoder
                ),
                part,
            )
            fresh: dict[int, tuple[bytes, Likeness]] = {}
            try:
                for done, (content, look) in enumerate(zip(part, looks, strict=True), start + 1):
                    if look is None:
                        lost += 1
                    else:
                        found[content] = look
                        fresh[content] = sums[content], look
                    progress(done, len(missing))
            finally:
                memory.keep(fresh)
    if lost:
        listeners.tell(
            f"{lost:,} photos cannot be read or have changed since they were indexed, and were left out;"
            " bring the library up to date: clipsearch index"
        )
    return found


def _look(held: Sequence[Photo], digest: bytes | None, decoder: Decoder) -> Likeness | None:
    """Look at the first copy that can be read and has the bytes that were indexed."""
    for photo in held:
        try:
            data, _, _ = read_bytes(photo.path)
            if hashlib.sha256(data).digest() == digest:
                return likeness_of(decoder.open_upright(data, at_least=SHARPNESS_SIDE))
        except (OSError, PhotoError):
            continue
    return None


class _Memory:
    """Writes to the catalog beside whoever else does; where that fails, the next call looks again."""

    def __init__(self, catalog: Catalog, listeners: Listeners) -> None:
        self._folder = catalog.path.parent
        self._listeners = listeners
        self._writer: Catalog | None = None
        self._failed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def keep(self, fresh: dict[int, tuple[bytes, Likeness]]) -> None:
        if self._failed or not fresh:
            return
        try:
            self._writer = self._writer or Catalog(self._folder, write=True)
            record(self._writer, fresh)
        except (LibraryWriteError, LibraryBusyError) as error:
            self._failed = True
            self._listeners.tell(f"what was compared is not remembered for the next time: {error.message}")
