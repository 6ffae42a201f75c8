"""`clipsearch eval`."""

from __future__ import annotations

from collections import deque
from dataclasses import fields
from pathlib import Path  # noqa: TC003 - Typer reads annotations at run time
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.exits import Exit
from clipsearch.cli.index import Device  # noqa: TC001 - Typer reads annotations at run time
from clipsearch.cli.options import Format, LibraryFolder, OutputFormat, examples
from clipsearch.cli.progress import Reporter, open_library
from clipsearch.cli.render import write_records
from clipsearch.cli.showing import new_picture, write_picture
from clipsearch.cli.table import Column, Table
from clipsearch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from PIL import Image

    from clipsearch.evaluation import Evaluation
    from clipsearch.records import Record

_WAYS = (("text to photo", "text_to_photo"), ("photo to text", "photo_to_text"))


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(
        "eval",
        epilog=examples(
            "clipsearch eval captions.csv",
            "clipsearch eval --labels ~/sorted-photos --model builtin --model default",
            "clipsearch eval captions.csv --model builtin --model default --plot models.png",
            'clipsearch eval --labels labels.csv --template "a photo of a {}, a kind of food"',
        ),
    )(evaluate)


def evaluate(
    captions: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CAPTIONS]",
            help="Photos with captions, CSV or TSV: path,caption; a photo may have several.",
            show_default=False,
        ),
    ] = None,
    *,
    labels: Annotated[
        Path | None,
        typer.Option(metavar="DIR|FILE", help="Sorted photos, a folder a label; or CSV or TSV: path,label."),
    ] = None,
    template: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="Prompt around a label, without one [cyan]a photo of a {}[/cyan]; several are averaged.",
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Model to measure, as for index; several side by side. Without one, the library's.",
            rich_help_panel="Model",
        ),
    ] = None,
    device: Annotated[
        Device | None,
        typer.Option(help="Where models run.", rich_help_panel="Model", case_sensitive=False),
    ] = None,
    again: Annotated[
        bool,
        typer.Option(
            "--again",
            help="Embed all photos now, also those that the library has, and tell how fast.",
            rich_help_panel="Model",
        ),
    ] = False,
    output: OutputFormat = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw the figures, too: one.png.", rich_help_panel="Output"),
    ] = None,
    library: LibraryFolder = None,
) -> int:
    """Measure how good models are on photos of your own.

    With captions: how often a caption finds its photo among the first 1, 5, 10
    (R@1, R@5, R@10) and the other way round, and the mean reciprocal rank (MRR).
    With labels: how often the right label comes first, or among the first five.
    """
    from clipsearch.zeroshot import DEFAULT_TEMPLATES

    form = output or Format.TABLE
    if form is Format.PATHS:
        raise UsageError("figures have no paths", "use --format json or csv")
    picture = new_picture(plot)
    with Reporter() as reporter, open_library(library, reporter) as opened:
        found: list[Evaluation] = []
        evaluations = _kept(
            opened.evaluate(
                captions,
                labels,
                models=model or (),
                templates=template or DEFAULT_TEMPLATES,
                device=device or "auto",
                again=again,
                progress=reporter.work,
            ),
            found,
            reporter,
        )
        if form is Format.TABLE:
            try:
                deque(evaluations, maxlen=0)
            finally:  # what was measured may have taken hours, even if the next model cannot be had
                reporter.rest()
                _write_tables(found)
        else:
            write_records(map(_record, evaluations), form)
    if picture:
        write_picture(picture, _chart(found))
    return Exit.DONE


def _kept(
    evaluations: Iterable[Evaluation], found: list[Evaluation], reporter: Reporter
) -> Iterator[Evaluation]:
    for one in evaluations:
        found.append(one)
        reporter.rest()
        yield one


def _record(one: Evaluation) -> Record:
    """Flat, with the same keys whatever was measured, so that models are rows of one table."""
    from clipsearch.evaluation import Retrieval, ZeroShot

    speed = one.photos_per_second
    record: Record = {
        "model": one.model,
        "photos": one.photos,
        "photos_per_second": None if speed is None else round(speed, 2),
    }
    parts = (
        ("text_to_photo", Retrieval, one.text_to_photo),
        ("photo_to_text", Retrieval, one.photo_to_text),
        ("zero_shot", ZeroShot, one.zero_shot),
    )
    for name, kind, measured in parts:
        for key in (field.name for field in fields(kind)):
            value = None if measured is None else getattr(measured, key)
            record[f"{name}_{key}"] = round(value, 6) if isinstance(value, float) else value
    return record


def _write_tables(found: Sequence[Evaluation]) -> None:
    speed = Column("photos/s", 8, right=True)
    if any(one.text_to_photo for one in found):
        figures = [Column(name, 6, "cyan", right=True) for name in ("R@1", "R@5", "R@10")]
        table = Table([Column("", 13), *figures, Column("MRR", 5, right=True), speed], "model")
        for name, way in _WAYS:
            for one in found:
                if (got := getattr(one, way)) is not None:
                    shares = map(_percent, (got.recall_1, got.recall_5, got.recall_10))
                    table.row([name, *shares, f"{got.mrr:.3f}", _speed(one)], one.model)
    sorted_out = [(one, one.zero_shot) for one in found if one.zero_shot]
    if sorted_out:
        figures = [Column(name, 6, "cyan", right=True) for name in ("top-1", "top-5", "per class")]
        table = Table([Column("", 13), *figures, speed], "model")
        for one, got in sorted_out:
            cells = [_percent(got.top_1), _percent(got.top_5), _percent(got.per_class), _speed(one)]
            table.row([f"{got.labels} labels", *cells], one.model)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}%"


def _speed(one: Evaluation) -> str:
    return "" if one.photos_per_second is None else f"{one.photos_per_second:.1f}"


def _chart(found: Sequence[Evaluation]) -> Image.Image:
    from clipsearch.bar_chart import Bars, bar_chart

    def figures(part: str, titles: dict[str, str]) -> list[Bars]:
        measured = [getattr(one, part) for one in found]
        if not any(measured):
            return []
        values = {key: [got and getattr(got, key) for got in measured] for key in titles}
        return [
            Bars(title, values[key], [_percent(value) or "-" for value in values[key]], 1.0)
            for key, title in titles.items()
        ]

    recall = {
        "recall_1": "first is right (R@1)",
        "recall_5": "among the first 5 (R@5)",
        "recall_10": "among the first 10 (R@10)",
    }
    accuracy = {"top_1": "first is right", "top_5": "among the first 5", "per_class": "first, mean of labels"}
    sections = [(name, figures(way, recall)) for name, way in _WAYS]
    sections.append(("zero-shot", figures("zero_shot", accuracy)))
    speeds = [one.photos_per_second for one in found]
    if any(speeds):
        shown = [_speed(one) or "-" for one in found]
        most = max(speed or 0.0 for speed in speeds)
        sections.append(("speed", [Bars("photos a second", speeds, shown, most)]))
    return bar_chart([one.model for one in found], [section for section in sections if section[1]])
