"""A model that joins a library late: it embeds the photos that the library has, and changes nothing else."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from clipsearch.catalog.catalog import Refusal
from clipsearch.indexing import Indexer
from clipsearch.photos.video import Film

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from clipsearch.catalog.catalog import Catalog
    from clipsearch.catalog.diff import Diff
    from clipsearch.encoders import ImageEncoder
    from clipsearch.reading import ReadFile
    from clipsearch.types import IndexReport, Listeners, Metadata, Model


class CatchUp(Indexer):
    """Embeds, with another model than the one before it in a run, what that run has looked through.

    Files are read and embedded; what the catalog says of them stays. One that cannot be read now, or is not
    what the catalog knows, is left for the next run.

    Args:
        catalog: As for `Indexer`, and so are the others.
        model: Id and identity of the model, None where the library does not have it yet.
        open_encoder: See `Indexer`.
        foretell: See `Indexer`.
        diff: What the run has found.
        listeners: See `Indexer`.
        stop: See `Indexer`.
    """

    def __init__(
        self,
        catalog: Catalog,
        model: tuple[int, Model] | None,
        open_encoder: Callable[[int], ImageEncoder],
        diff: Diff,
        *,
        listeners: Listeners,
        stop: Callable[[], bool],
        foretell: Callable[[], Model | None] = lambda: None,
    ) -> None:
        super().__init__(
            catalog, model, open_encoder, listeners=listeners, stop=stop, foretell=foretell, diff=diff
        )
        self._unreadable: list[Refusal] = []

    def catch_up(self, report: IndexReport) -> IndexReport:
        """Embed what is missing.

        Args:
            report: Of the run so far.

        Returns:
            The same, with what was done here.

        Raises:
            ClipsearchError: As `Indexer.run`.
        """
        self._report = report
        self._total = self.diff.count_missing(0 if self._model is None else self._model[0])
        if not self._total:
            return report
        self._read_and_embed(self.diff.missing)
        if self._unreadable:
            number = len(self._unreadable)
            files = "file" if number == 1 else "files"
            self._listeners.tell(f"{number:,} {files} could not be read now: {self._unreadable[0].reason}")
        seconds = report.seconds + time.monotonic() - self._clock
        self._report = replace(self._report, seconds=round(seconds, 3))
        self._catalog.finish_run(self._report, [])
        return self._report

    def _take(self, item: ReadFile | Refusal | None) -> None:
        if isinstance(item, Refusal):
            self._unreadable.append(item)
            item = None
        super()._take(item if item is not None and self._is_known(item) else None)

    def _is_known(self, item: ReadFile) -> bool:
        """Whether a file shows what the catalog says it shows."""
        content = self._catalog.content_of(item.digest)
        if content is None or content != item.file.content:
            return False
        digests = [digest for digest, _ in item.pictures()] if isinstance(item.decoded, Film) else []
        return all(self._catalog.content_of(digest) is not None for digest in digests)

    def _take_model(self, model: Model) -> int:
        return self._catalog.add_model(model)

    def _facts(self, item: ReadFile) -> tuple[int, int, Metadata] | None:  # noqa: ARG002 - they are there
        return None

    def _count_files(self, read: Sequence[ReadFile]) -> None:
        """They were counted by the run."""
