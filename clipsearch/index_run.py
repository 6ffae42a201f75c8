"""One run over a library's folders: under the writer's lock, with the model that the library has or gets."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from clipsearch import vector_files
from clipsearch.catalog.catalog import Catalog
from clipsearch.catalog.models import count_missing, held_models, is_alone
from clipsearch.encoders.opening import foretold_model, open_image_encoder
from clipsearch.encoders.registry import resolve
from clipsearch.errors import ModelError, ModelUnavailableError
from clipsearch.lock import writer_lock
from clipsearch.roots import is_bare
from clipsearch.several import name_of, option_of
from clipsearch.types import IndexProgress

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from clipsearch.encoders import ImageEncoder
    from clipsearch.encoders.shared import Encoders
    from clipsearch.roots import Walk
    from clipsearch.types import IndexReport, Listeners, Model, ModelSource

DEFAULT_MODEL = "default"
BUILTIN_MODEL = "builtin"


class Run(NamedTuple):
    """What a run has done.

    Attributes:
        report: The report.
        default: The model that answers where none is named; None where nothing was ever embedded.
        model: The one that the user named, else the default.
    """

    report: IndexReport
    default: Model | None
    model: Model | None


def refresh(
    folder: Path,
    walks_of: Callable[[Catalog], list[Walk]],
    open_encoder: Callable[[ModelSource | None, int], ImageEncoder],
    *,
    wanted: ModelSource | None,
    retry_skipped: bool,
    listeners: Listeners,
    stop: Callable[[], bool],
) -> Run:
    """Bring the catalog up to date with folders on disk, and the vector files with the catalog.

    The library's default model comes first: it has an embedding of every photo. Then another one, if wanted,
    embeds those that it has none of.

    Args:
        folder: The library's; is made when missing.
        walks_of: Says what to look through.
        open_encoder: Loads the image encoder for so many pictures; None stands for the default model.
        wanted: The model that the user named.
        retry_skipped: As for `Library.index`.
        listeners: Where to report to.
        stop: As for `Library.index`.

    Raises:
        ClipsearchError: As `Library.index`.
    """
    with writer_lock(folder), Catalog(folder, write=True) as catalog:
        from clipsearch.indexing import Indexer

        known = catalog.current_model()
        if known and wanted and wanted != known[1].source and not catalog.last_embedding(known[0]):
            known = None  # the run that chose it ended before it had embedded anything

        source = known[1].source if known else wanted
        indexer = Indexer(
            catalog,
            known,
            partial(open_encoder, source),
            listeners=listeners,
            stop=stop,
            foretell=lambda: foretold_model(source or resolve(DEFAULT_MODEL)),
        )
        before = {root.id for root in catalog.roots()}
        walks = walks_of(catalog)
        report = indexer.run(walks, retry_skipped=retry_skipped)
        for walk in walks:
            # A folder without a single picture was a slip, or is yet to be filled: not a root.
            if walk.root.id not in before and not report.interrupted and is_bare(catalog, walk.root):
                catalog.remove_root(walk.root.id)
        if indexer.model is None:
            return Run(report, None, None)
        lost = bool(report.removed or report.changed or report.skipped)
        vector_files.refresh(catalog, folder, *indexer.model, lost=lost)
        default = indexer.model[1]
        if report.interrupted or (is_alone(catalog) and wanted in (None, default.source)):
            return Run(report, default, default)

        from clipsearch.catching_up import CatchUp

        source = wanted or default.source
        known = next(((key, model) for key, model in catalog.models() if model.source == source), None)
        opened = partial(open_encoder, source)
        late = CatchUp(
            catalog,
            known,
            opened,
            indexer.diff,
            listeners=listeners,
            stop=stop,
            foretell=partial(foretold_model, source),
        )
        report = late.catch_up(report)
        if late.model is None:
            return Run(report, default, None)
        vector_files.refresh(catalog, folder, *late.model)
        return Run(report, default, late.model[1])


def tell_of_models(folder: Path, run: Run, listeners: Listeners) -> None:
    """Say which models of a library lack photos, and which one answers, if not the one that was named."""
    if run.default is None:
        return
    with Catalog(folder) as catalog:
        if is_alone(catalog):
            return
        photos = catalog.count_photos()
        for key, model in held_models(catalog):
            missing = count_missing(catalog, key)
            if missing:
                option = "" if model == run.default else option_of(model.source)
                listeners.tell(
                    f"{model.source} lacks {missing:,} of {photos:,} photos: clipsearch index{option}"
                )
            elif model == run.model and model != run.default:
                listeners.tell(
                    f"{model.source} has all {photos:,} photos. By default, {run.default.source} answers."
                    f" To change that: clipsearch models use {name_of(model.source)}"
                )


class _StoppedError(Exception):
    """The user wants a run to end."""


def prepare(
    encoders: Encoders, model: Model, report: IndexReport, listeners: Listeners, stop: Callable[[], bool]
) -> None:
    """Have ready, once for each model, what tells how good a match is; else the first query makes it."""

    def told(done: int, total: int) -> None:
        if stop():
            raise _StoppedError
        if listeners.index is not None:
            listeners.index(IndexProgress("prepare", done, total, report))

    with suppress(_StoppedError, ModelError):
        encoders.prompts(model, listeners, told)


def open_encoder(
    source: ModelSource | None,
    device: str,
    batch_size: int | None,
    photos: int | None,
    listeners: Listeners,
) -> ImageEncoder:
    """The named model, or the default one; where that cannot be had, the built-in.

    Args:
        source: None for the default.
        device: See `open_image_encoder`, and so are `batch_size` and `photos`.
        batch_size: See `open_image_encoder`.
        photos: See `open_image_encoder`.
        listeners: For notices and downloads.

    Raises:
        ModelError: The named model cannot be had.
    """
    if source is not None:
        return open_image_encoder(
            source, device=device, batch_size=batch_size, pictures=photos, listeners=listeners
        )
    try:
        return open_encoder(resolve(DEFAULT_MODEL), device, batch_size, photos, listeners)
    except ModelUnavailableError as error:
        listeners.tell(f"{error.message}. Making this library with the small built-in model instead")
        return open_encoder(resolve(BUILTIN_MODEL), device, batch_size, photos, listeners)
