"""`clipsearch caption` and `clipsearch ocr`: texts of photos, for `search --text`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.exits import Exit
from clipsearch.cli.filtering import NO_FILTERS, Filtered, filtered
from clipsearch.cli.index import Device  # noqa: TC001 - Typer reads annotations at run time
from clipsearch.cli.options import Format, LibraryFolder, OutputFormat, examples
from clipsearch.cli.progress import Reporter, open_library
from clipsearch.cli.render import write_records
from clipsearch.cli.table import Column, Table
from clipsearch.cli.terminal import console, harmless, remark
from clipsearch.cli.wording import count, duration
from clipsearch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from clipsearch.catalog.texts import Kind
    from clipsearch.library import Library
    from clipsearch.records import Record
    from clipsearch.texts import PhotoText, TextReport
    from clipsearch.types import Filters

_TEXT_WIDTH = 40  # longer ones are printed whole, out of line

Listed = Annotated[bool, typer.Option("--list", help="List the photos that have some, with them.")]
Forget = Annotated[bool, typer.Option("--forget", help="Take them away again.")]
Again = Annotated[bool, typer.Option("--again", help="Look at all photos anew.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command(
        epilog=examples(
            "clipsearch caption",
            "clipsearch caption --model coca_ViT-B-32/mscoco_finetuned_laion2b_s13b_b90k",
            "clipsearch caption --list --format csv > captions.csv",
            'clipsearch search --text "dog beach"',
        )
    )(filtered(caption))
    app.command(
        epilog=examples(
            "clipsearch ocr",
            "clipsearch ocr --in ~/Scans",
            'clipsearch search --text "invoice 2023"',
            "clipsearch ocr --list --format jsonl",
        )
    )(filtered(ocr))


def caption(
    *,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A CoCa model of OpenCLIP; without one, the words of clipsearch tag that fit best.",
        ),
    ] = None,
    device: Annotated[Device | None, typer.Option(help="Where it runs.", case_sensitive=False)] = None,
    listed: Listed = False,
    forget: Forget = False,
    again: Again = False,
    filters: Filtered = NO_FILTERS,
    output: OutputFormat = None,
    library: LibraryFolder = None,
) -> int:
    """Write captions of photos, which search --text then finds.

    Photos that have none yet of this model are looked at; stop it any time, the
    next run goes on from there. No file is touched.
    """
    if (listed or forget) and (model or device):
        raise UsageError("--list and --forget are of all captions", "leave --model and --device away")
    return _texts(
        "caption",
        lambda opened, reporter: opened.caption(
            model, filters=filters, device=device or "auto", again=again, progress=reporter.work
        ),
        listed=listed,
        forget=forget,
        again=again,
        filters=filters,
        output=output,
        library=library,
    )


def ocr(
    *,
    listed: Listed = False,
    forget: Forget = False,
    again: Again = False,
    filters: Filtered = NO_FILTERS,
    output: OutputFormat = None,
    library: LibraryFolder = None,
) -> int:
    """Read the words in photos, which search --text then finds.

    Photos that were not read yet are looked at; stop it any time, the next run
    goes on from there. No file is touched. Needs pip install "clipsearch[ocr]".
    """
    return _texts(
        "words",
        lambda opened, reporter: opened.read_words(filters=filters, again=again, progress=reporter.work),
        listed=listed,
        forget=forget,
        again=again,
        filters=filters,
        output=output,
        library=library,
    )


def _texts(
    kind: Kind,
    run: Callable[[Library, Reporter], TextReport],
    *,
    listed: bool,
    forget: bool,
    again: bool,
    filters: Filters,
    output: Format | None,
    library: Path | None,
) -> int:
    asked = [
        name for name, wanted in {"--list": listed, "--forget": forget, "--again": again}.items() if wanted
    ]
    if len(asked) > 1:
        raise UsageError(f"{' and '.join(asked)} do not go together", "leave all but one away")
    if output is not None and not listed:
        raise UsageError("--format is for lists", "add --list")
    with Reporter() as reporter, open_library(library, reporter) as opened:
        if listed:
            return _list(opened.texts(kind, filters), output or Format.TABLE)
        if forget:
            opened.forget_texts(kind, filters)
            console().print("The captions are gone." if kind == "caption" else "The words are gone.")
            return Exit.DONE
        try:
            report = run(opened, reporter)
        except KeyboardInterrupt:
            reporter.rest()
            remark("what is done is kept; the same command goes on from there")
            raise
        reporter.rest()
        console().print(_done(report))
    return Exit.DONE


def _done(report: TextReport) -> str:
    if not report.looked_at and not report.left_out:
        return "Every photo was looked at before; --again looks anew."
    return (
        f"Looked at {count(report.looked_at, 'photo')} in {duration(report.seconds)}:"
        f" {report.written:,} with something to say."
    )


def _record(one: PhotoText) -> Record:
    return {"path": str(one.path), "text": one.text, "by": one.author}


def _list(photos: Iterable[PhotoText], output: Format) -> int:
    found = 0
    if output is Format.TABLE:
        table = Table([Column("text", _TEXT_WIDTH)])
        for one in photos:
            found += 1
            table.row([harmless(" ".join(one.text.split()))], one.path)
    else:
        found = write_records(map(_record, photos), output)
    if not found:
        remark("nothing was written of any photo here")
        return Exit.NOTHING_FOUND
    return Exit.DONE
