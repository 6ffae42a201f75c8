"""`clipsearch export`: what the library knows, for other programs."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path  # noqa: TC003 - Typer reads annotations at run time
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.exits import Exit
from clipsearch.cli.filtering import NO_FILTERS, Filtered, filtered
from clipsearch.cli.options import Format, LibraryFolder, Null, OutputFormat, WithModel, examples
from clipsearch.cli.progress import Reporter, open_library
from clipsearch.cli.render import chosen, write_records
from clipsearch.cli.terminal import console, remark
from clipsearch.cli.wording import count
from clipsearch.errors import UsageError
from clipsearch.records import photo_record

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from clipsearch.types import Filters, Photo

    Blocks = Iterator[tuple[list[Photo], NDArray[np.float32]]]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(
        epilog=examples(
            "clipsearch export > photos.csv",
            "clipsearch export --on 2024 --format jsonl > photos.jsonl",
            "clipsearch export --vectors photos.npy > photos.csv",
            "clipsearch export --to milvus://db.example.org:19530/photos",
            "clipsearch export --to ~/embedded",
        )
    )(filtered(export))


def export(
    *,
    vectors: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.npy",
            help="Also write the embeddings: float16, a row a photo, in the same order.",
            rich_help_panel="Output",
        ),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="WHERE",
            help="Write photos and embeddings into a Milvus collection, or a folder of Parquet files,"
            " instead.",
            rich_help_panel="Output",
        ),
    ] = None,
    filters: Filtered = NO_FILTERS,
    output: OutputFormat = None,
    null: Null = False,
    model: WithModel = None,
    library: LibraryFolder = None,
) -> int:
    """Write what is known of each photo: path, date, size, camera, place.

    CSV, unless another format is named.
    """
    if to is not None:
        if vectors is not None or output is not None or null:
            raise UsageError("--to goes with no other output", "run export twice")
        return _send(to, filters, library, model)
    form = chosen(output, null=null)
    reporter = Reporter()
    with open_library(library, reporter, model) as opened, ExitStack() as stack:
        blocks = opened.export(filters)
        total = opened.status().photos
        if vectors is not None:
            blocks = stack.enter_context(_saving(vectors, blocks))
        records = map(
            photo_record, chain.from_iterable(photos for photos, _ in _told(blocks, reporter, total))
        )
        written = write_records(records, Format.CSV if form is Format.TABLE else form, null=null)
    if not written:
        remark("no photo passes the filters")
        return Exit.NOTHING_FOUND
    return Exit.DONE


def _send(to: str, filters: Filters, library: Path | None, model: str | None) -> int:
    reporter = Reporter()
    with open_library(library, reporter, model) as opened:
        total = opened.status().photos
        written = opened.send(
            to, filters, progress=lambda done: reporter.work("sending", "photos", done, total)
        )
    if not any(written):
        remark("no photo passes the filters")
        return Exit.NOTHING_FOUND
    there = f", {written.unchanged:,} were there already" if written.unchanged else ""
    console().print(f"{count(written.new, 'photo')} sent to {to}{there}.")
    return Exit.DONE


def _told(blocks: Blocks, reporter: Reporter, total: int) -> Blocks:
    done = 0
    for photos, rows in blocks:
        yield photos, rows
        done += len(photos)
        reporter.work("exporting", "photos", done, total)
    reporter.rest()


@contextmanager
def _saving(file: Path, blocks: Blocks) -> Iterator[Blocks]:
    """Save the rows of blocks as they pass; the file appears once all of them have."""
    from clipsearch.new_file import drafted
    from clipsearch.rows_file import RowsFile

    with drafted(file) as draft, draft.open("wb") as stream:
        saved = RowsFile(stream)

        def passing() -> Blocks:
            for photos, rows in blocks:
                saved.write(rows)
                yield photos, rows

        yield passing()
        saved.finish()
