"""`clipsearch classify`."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path  # noqa: TC003 - Typer reads annotations at run time
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.collecting import NOT_COLLECTED, Collected, sorted_out
from clipsearch.cli.exits import Exit
from clipsearch.cli.filtering import NO_FILTERS, Filtered, filtered
from clipsearch.cli.labels import parse_labels
from clipsearch.cli.options import Format, LibraryFolder, Null, OutputFormat, WithModel, examples
from clipsearch.cli.predictions import Tally, write_prediction_table
from clipsearch.cli.progress import open_library
from clipsearch.cli.render import chosen, write_records
from clipsearch.cli.showing import NOT_SHOWN, Plot, Shown, new_picture, shown_too
from clipsearch.cli.surest import Surest
from clipsearch.cli.terminal import on_terminal, remark
from clipsearch.records import prediction_records

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from clipsearch.predictions import Predictions

_ROWS_ON_TERMINAL = 50


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(
        epilog=examples(
            "clipsearch classify --labels cat,dog",
            "clipsearch classify photo.jpg ~/Downloads --labels-file labels.txt --top 3",
            'clipsearch classify --labels day,night --template "a photo taken at {}" --format csv',
            "clipsearch classify --labels receipt,other --min-prob 0.9 --into sorted --link",
            "clipsearch classify --labels beach,city,forest --plot places.png --open",
        )
    )(filtered(shown_too(sorted_out(classify))))


def classify(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Photos or folders; without one, all indexed photos."),
    ] = None,
    *,
    labels: Annotated[
        list[str] | None, typer.Option(metavar="A,B,...", help="Labels to choose from, with commas between.")
    ] = None,
    labels_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Labels, one a line (these may hold commas).")
    ] = None,
    template: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="Prompt around a label, without one [cyan]a photo of a {}[/cyan]; several are averaged.",
        ),
    ] = None,
    min_prob: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            metavar="P",
            help="Leave out photos whose best label is less probable.",
            show_default=False,
        ),
    ] = 0.0,
    filters: Filtered = NO_FILTERS,
    top: Annotated[
        int, typer.Option(min=1, metavar="K", help="Labels a photo in the table.", rich_help_panel="Output")
    ] = 1,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            "-n",
            min=1,
            metavar="N",
            help=f"List at most this many photos; without it all, or {_ROWS_ON_TERMINAL} on a terminal.",
            rich_help_panel="Output",
        ),
    ] = None,
    output: OutputFormat = None,
    null: Null = False,
    showing: Shown = NOT_SHOWN,
    plot: Plot = None,
    sorting: Collected = NOT_COLLECTED,
    model: WithModel = None,
    library: LibraryFolder = None,
) -> int:
    """Tell photos apart by labels you name.

    The table lists the most probable label of each photo and counts the labels at the end.
    JSON has the probability of every label; so has CSV: path, label, probability, then a column a label.
    """
    from clipsearch.zeroshot import DEFAULT_TEMPLATES

    form = chosen(output, null=null)
    choices = parse_labels(labels or (), labels_file)
    plot_file = new_picture(plot)
    tally = Tally(choices)
    surest = Surest(choices) if showing or plot_file else None
    places: list[tuple[str, Path]] = []
    with open_library(library, model=model) as opened:
        blocks = opened.classify_blocks(
            choices, paths=paths or (), templates=template or DEFAULT_TEMPLATES, filters=filters
        )
        kept = tally.count(blocks, min_prob)
        if surest:
            kept = surest.keep(kept)
        if sorting:
            kept = _placed(kept, choices, places)
        with suppress(BrokenPipeError):  # whoever reads the list has seen enough; see below
            if form is Format.TABLE:
                _write_table(kept, tally, top=top, limit=limit, everything=bool(paths))
            else:
                columns = ("path", "label", "probability", *choices)
                records = chain.from_iterable(prediction_records(block, choices) for block in kept)
                write_records(islice(records, limit), form, columns=columns, null=null)
        if surest or sorting:
            deque(kept, maxlen=0)  # neither the limit nor the reader of the list counts for these
    if not tally.photos:
        remark("no photo has a label that probable" if tally.left_out else "there is no photo to classify")
        return Exit.NOTHING_FOUND
    if surest and plot_file:
        surest.plot(plot_file)
    if surest and showing:
        showing.show(surest.sections(), title="surest of each label", plot=plot_file)
    sorting.collect(places)
    return Exit.DONE


def _placed(
    kept: Iterable[Predictions], labels: Sequence[str], places: list[tuple[str, Path]]
) -> Iterator[Predictions]:
    """Note the folder of each photo as predictions pass by."""
    from clipsearch.collection import folder_names

    folders = folder_names(labels)
    for block in kept:
        places += ((folders[prediction.best], prediction.path) for prediction in block)
        yield block


def _write_table(
    kept: Iterable[Predictions], tally: Tally, *, top: int, limit: int | None, everything: bool
) -> None:
    if limit is None and on_terminal() and not everything:
        limit = _ROWS_ON_TERMINAL
    written = write_prediction_table(kept, tally.labels, top=min(top, len(tally.labels)), limit=limit)
    hidden = tally.photos - written
    if hidden:
        remark(f"... and {hidden:,} more; list them with --limit {tally.photos} or --format csv")
    if tally.photos:
        tally.show()
