"""`clipsearch search` and `clipsearch similar`."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.collecting import NOT_COLLECTED, Collected, collected
from clipsearch.cli.exits import Exit
from clipsearch.cli.filtering import NO_FILTERS, Filtered, filtered
from clipsearch.cli.options import (
    Add,
    LibraryFolder,
    Limit,
    MinScore,
    Null,
    OnlyMatches,
    OutputFormat,
    Subtract,
    WithModel,
    examples,
)
from clipsearch.cli.progress import open_for_search
from clipsearch.cli.render import chosen, write_matches
from clipsearch.cli.showing import NOT_SHOWN, Shown, match_section, shown_too
from clipsearch.cli.terminal import remark

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clipsearch.cli.collecting import Collecting
    from clipsearch.cli.options import Format
    from clipsearch.cli.showing import Showing
    from clipsearch.types import Match


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command(
        epilog=examples(
            'clipsearch search "brown dog on beach"',
            'clipsearch search "golden retriever" --add pool.jpg --subtract 2:fruit',
            "clipsearch search sunset --on 2023-08 --near 38.7,-9.1 --landscape",
            "clipsearch search --camera nikon --after 2024 --format jsonl",
            'clipsearch search --text "invoice 2023"',
            "clipsearch search cat --preview --html cats.html",
            "clipsearch search cat -n 100 --only-matches --copy-to cats",
            "clipsearch search cat -n 100 -0 | xargs -0 ls -l",
        )
    )(filtered(shown_too(collected(search))))
    app.command(
        epilog=examples(
            "clipsearch similar img.jpg",
            "clipsearch similar img.jpg --add snow --limit 30",
            "clipsearch similar https://example.org/cat.jpg --format paths",
        )
    )(filtered(shown_too(collected(similar))))


def search(
    query: Annotated[list[str] | None, typer.Argument(help="What the photo shows.")] = None,
    *,
    add: Add = None,
    subtract: Subtract = None,
    limit: Limit = 10,
    filters: Filtered = NO_FILTERS,
    min_score: MinScore = None,
    only_matches: OnlyMatches = False,
    blend: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            metavar="X",
            help="Let captions and words in photos count, too: [cyan]0.3[/cyan] of the whole.",
            show_default=False,
        ),
    ] = 0.0,
    output: OutputFormat = None,
    null: Null = False,
    showing: Shown = NOT_SHOWN,
    collecting: Collected = NOT_COLLECTED,
    model: WithModel = None,
    library: LibraryFolder = None,
) -> int:
    """Find photos by describing them.

    Best first: rank, score (cosine similarity), how strong a match it is, date
    taken, path.
    Without a query: the photos that pass the filters, those taken last first
    (with --text, those that its words fit best).
    """
    form = chosen(output, null=null)
    with open_for_search(library, model) as opened:
        if filters and not (query or add or subtract or min_score is not None or only_matches or blend):
            matches = opened.newest(filters, limit=limit)
        else:
            matches = opened.search(
                " ".join(query or ()),
                add=add or (),
                subtract=subtract or (),
                limit=limit,
                filters=filters,
                min_score=min_score,
                only_matches=only_matches,
                blend=blend,
            )
    title = " ".join([*(query or ()), *_signed(add, subtract)]) or "newest photos"
    return _answer(title, matches, form, null=null, showing=showing, collecting=collecting)


def similar(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="A picture: a file or an http(s) URL.")],
    *,
    add: Add = None,
    subtract: Subtract = None,
    limit: Limit = 10,
    filters: Filtered = NO_FILTERS,
    min_score: MinScore = None,
    only_matches: OnlyMatches = False,
    include_self: Annotated[
        bool, typer.Option("--include-self", help="List the photo itself and its exact copies too.")
    ] = False,
    output: OutputFormat = None,
    null: Null = False,
    showing: Shown = NOT_SHOWN,
    collecting: Collected = NOT_COLLECTED,
    model: WithModel = None,
    library: LibraryFolder = None,
) -> int:
    """Find photos that look like a picture.

    Best first: rank, score (cosine similarity), how strong a match it is, date
    taken, path.
    """
    form = chosen(output, null=null)
    with open_for_search(library, model) as opened:
        matches = opened.similar(
            image,
            add=add or (),
            subtract=subtract or (),
            limit=limit,
            filters=filters,
            min_score=min_score,
            only_matches=only_matches,
            include_self=include_self,
        )
    title = " ".join([f"similar to {image}", *_signed(add, subtract)])
    return _answer(title, matches, form, null=null, showing=showing, collecting=collecting)


def _signed(add: Sequence[str] | None, subtract: Sequence[str] | None) -> list[str]:
    return [f"+ {term}" for term in add or ()] + [f"- {term}" for term in subtract or ()]


def _answer(
    title: str,
    matches: Sequence[Match],
    output: Format,
    *,
    null: bool,
    showing: Showing,
    collecting: Collecting,
) -> int:
    if not matches:
        remark("no photo matches")
        return Exit.NOTHING_FOUND
    with suppress(BrokenPipeError):  # whoever reads the list has seen enough; the rest is asked for as well
        write_matches(matches, output, null=null)
    if showing:
        showing.show([match_section(title, matches)])
    collecting.collect([("", match.path) for match in matches])
    return Exit.DONE
