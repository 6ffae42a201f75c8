"""`clipsearch tag`."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.exits import Exit
from clipsearch.cli.filtering import NO_FILTERS, Filtered, filtered
from clipsearch.cli.options import Format, LibraryFolder, OutputFormat, WithModel, examples
from clipsearch.cli.progress import Reporter, open_library
from clipsearch.cli.render import write_records
from clipsearch.cli.table import Column, Table
from clipsearch.cli.terminal import console, harmless, remark
from clipsearch.cli.wording import count, duration
from clipsearch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from clipsearch.library import Library
    from clipsearch.types import Filters, SidecarReport, TaggedPhoto, TagReport

_TAGS_WIDTH = 32  # longer ones are printed whole, out of line


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(
        epilog=examples(
            "clipsearch tag",
            "clipsearch tag --list",
            "clipsearch tag --photos --tag beach --format jsonl",
            "clipsearch tag --in ~/Photos/2024 --write-xmp --dry-run",
            "clipsearch tag --vocabulary garden.txt",
        )
    )(filtered(tag))


def tag(
    *,
    listed: Annotated[
        bool, typer.Option("--list", help="List the tags, and how many photos have each.")
    ] = False,
    photos: Annotated[bool, typer.Option("--photos", help="List the photos that have tags.")] = False,
    forget: Annotated[bool, typer.Option("--forget", help="Take the tags away again.")] = False,
    write_xmp: Annotated[
        bool, typer.Option("--write-xmp", help="Also write the tags to XMP sidecars beside the photos.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Tag photos anew that have tags already.")] = False,
    vocabulary: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Words to choose from, one a line, kept for later runs; [cyan]builtin[/cyan] for ours.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done, and change nothing.")
    ] = False,
    filters: Filtered = NO_FILTERS,
    output: OutputFormat = None,
    model: WithModel = None,
    library: LibraryFolder = None,
) -> int:
    """Give photos the everyday words that fit them.

    Photos that have no tags yet are looked at, from what `index` stored;
    then --tag finds them in every command.
    No file is touched, and sidecars are written only with --write-xmp.
    """
    _check(
        alone={"--list": listed, "--photos": photos, "--forget": forget},
        with_run={
            "--write-xmp": write_xmp,
            "--again": again,
            "--vocabulary": vocabulary is not None,
            "--dry-run": dry_run,
        },
        output=output,
    )
    with Reporter() as reporter, open_library(library, reporter, model) as opened:
        if listed:
            return _list(opened.tags(filters), output or Format.TABLE)
        if photos:
            return _write(opened.tagged(filters), output or Format.TABLE)
        if forget:
            opened.forget_tags(filters)
            console().print("The tags are gone; sidecars are as they were.")
            return Exit.DONE
        return _run(
            opened,
            reporter,
            filters=filters,
            vocabulary=vocabulary,
            again=again,
            write_xmp=write_xmp,
            dry_run=dry_run,
            output=output or Format.TABLE,
        )


def _check(*, alone: dict[str, bool], with_run: dict[str, bool], output: Format | None) -> None:
    """One thing at a time.

    Raises:
        UsageError: Two.
    """
    asked = [name for name, wanted in alone.items() if wanted]
    others = [name for name, wanted in with_run.items() if wanted]
    if len(asked) > 1 or (asked and others):
        raise UsageError(f"{' and '.join([*asked, *others])} do not go together", "leave all but one away")
    if output is not None and not ("--list" in asked or "--photos" in asked or "--dry-run" in others):
        raise UsageError("--format is for lists", "add --list, --photos or --dry-run")
    if output is Format.PATHS and "--list" in asked:
        raise UsageError("tags have no paths", "list photos: clipsearch tag --photos --format paths")


def _run(
    opened: Library,
    reporter: Reporter,
    *,
    filters: Filters,
    vocabulary: str | None,
    again: bool,
    write_xmp: bool,
    dry_run: bool,
    output: Format,
) -> int:
    def written(photos: Iterable[TaggedPhoto]) -> SidecarReport:
        return opened.write_sidecars(
            photos,
            dry_run=dry_run,
            progress=lambda done: reporter.work("writing sidecars", "photos", done, 0),
        )

    if not dry_run:
        report = opened.tag(filters=filters, vocabulary=vocabulary, again=again, progress=reporter.work)
        reporter.rest()
        console().print(_done(report))
        if write_xmp:
            console().print(_sidecars(written(opened.tagged(filters)), "Sidecars"))
        return Exit.DONE
    shown = opened.preview_tags(filters=filters, vocabulary=vocabulary, again=again, progress=reporter.work)
    if not write_xmp:
        return _write(shown, output)
    stays = () if again or vocabulary else opened.tagged(filters)
    remark(_sidecars(written(chain(shown, stays)), "Sidecars to be written"))
    return Exit.DONE


def _done(report: TagReport) -> str:
    if not report.looked_at:
        return "Every photo was looked at before; --again tags them anew."
    return (
        f"Looked at {count(report.looked_at, 'photo')} in {duration(report.seconds)}, with"
        f" {report.words:,} words: {count(report.tags, 'tag')} for {report.tagged:,} of them."
    )


def _sidecars(report: SidecarReport, title: str) -> str:
    counts = {
        "new": report.new,
        "with more tags": report.changed,
        "unchanged": report.unchanged,
        "left alone": report.left_alone,
    }
    told = ", ".join(f"{number:,} {name}" for name, number in counts.items() if number)
    return f"{title}: {told or 'none'}."


def _list(tags: list[tuple[str, int]], output: Format) -> int:
    if not tags:
        remark("no photo has a tag; give them some: clipsearch tag")
        return Exit.NOTHING_FOUND
    if output is not Format.TABLE:
        write_records(({"tag": name, "photos": number} for name, number in tags), output)
        return Exit.DONE
    table = Table([Column("photos", len(f"{tags[0][1]:,}"), "cyan", right=True)], "tag")
    for name, number in tags:
        table.row([f"{number:,}" if table.aligned else str(number)], harmless(name))
    return Exit.DONE


def _write(photos: Iterable[TaggedPhoto], output: Format) -> int:
    found = _table(photos) if output is Format.TABLE else write_records(_records(photos, output), output)
    if not found:
        remark("no photo has a tag here")
        return Exit.NOTHING_FOUND
    return Exit.DONE


def _table(photos: Iterable[TaggedPhoto]) -> int:
    found = 0
    table = Table([Column("tags", _TAGS_WIDTH, "bold")])
    for photo in photos:
        table.row([harmless(", ".join(photo.tags))], photo.path)
        found += 1
    return found


def _records(photos: Iterable[TaggedPhoto], output: Format) -> Iterator[dict[str, object]]:
    """Tags are a list in JSON, and one cell with `;` between them in CSV."""
    for photo in photos:
        yield {"path": str(photo.path), "tags": ";".join(photo.tags) if output is Format.CSV else photo.tags}
