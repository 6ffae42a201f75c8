"""`clipsearch demo`."""

from __future__ import annotations

import shlex
import sys
import tempfile
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.exits import Exit
from clipsearch.cli.options import Format, examples
from clipsearch.cli.predictions import Tally, write_prediction_table
from clipsearch.cli.preview import hindrance, preview
from clipsearch.cli.progress import Reporter, open_library
from clipsearch.cli.render import write_matches
from clipsearch.cli.showing import match_section, thumbnails_of
from clipsearch.cli.terminal import console
from clipsearch.errors import UsageError

if TYPE_CHECKING:
    from clipsearch.contact_sheet import Section
    from clipsearch.library import Library
    from clipsearch.types import Match

PICTURES = 200
QUERY = "sunset over the sea"
SHOWN = 5
LABELS = ("sunset", "night sky", "snowy mountain", "forest", "beach", "city at night")


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog=examples("clipsearch demo", "clipsearch demo --dir ~/clipsearch-demo"))(demo)


def demo(
    *,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--dir", metavar="DIR", help="Where to put the gallery; without it, a temporary folder."
        ),
    ] = None,
) -> int:
    """See it work, offline, in seconds: a gallery is painted, indexed, searched and sorted.

    Touches neither your photos nor your library.
    """
    home = _prepare(folder)
    gallery = home / "gallery"
    with Reporter() as reporter, open_library(home / "library", reporter) as library:
        _paint(gallery, reporter)
        report = library.index([gallery], model="builtin")
        reporter.rest()
        _say(f"Painted {PICTURES} pictures, and indexed them in {report.seconds:.0f} s.")
        sections = [_search(library), _similar(library), _classify(library)]
    from clipsearch.contact_sheet import contact_sheet

    sheet = home / "contact-sheet.png"
    contact_sheet(sections, thumbnails_of(sections)).save(sheet)
    _say("All of it as a picture")
    console().print(f"  {sheet}")
    _farewell(home)
    return Exit.DONE


def _prepare(folder: Path | None) -> Path:
    """An empty folder for the demo."""
    if folder is None:
        return Path(tempfile.mkdtemp(prefix="clipsearch-demo-"))
    home = folder.expanduser().absolute()
    if home.exists() and (not home.is_dir() or any(home.iterdir())):
        raise UsageError(f"not an empty folder: {home}", "name one that does not exist yet")
    home.mkdir(parents=True, exist_ok=True)
    return home


def _paint(gallery: Path, reporter: Reporter) -> None:
    from clipsearch.builtin.scenes import gallery as paint

    gallery.mkdir()
    for number, scene in enumerate(paint(PICTURES, seed=2026, kind="landscape"), 1):
        # The name says nothing of what is in the picture: the search must see it.
        scene.image.save(gallery / f"{number:03}.jpg", quality=92)
        reporter.work("painting", "pictures", number, PICTURES)


def _search(library: Library) -> Section:
    _type(f'clipsearch search "{QUERY}"')
    return _answer(library.search(QUERY, limit=SHOWN), f'search "{QUERY}"')


def _similar(library: Library) -> Section:
    (model,) = library.search("a snowy mountain", limit=1)
    _type(f"clipsearch similar {shlex.quote(str(model.path))}")
    _look(match_section("", [model]))
    return _answer(library.similar(model.path, limit=SHOWN), f"similar {model.path.name}")


def _answer(matches: list[Match], heading: str) -> Section:
    write_matches(matches, Format.TABLE)
    section = match_section(heading, matches)
    _look(section)
    return section


def _look(section: Section) -> None:
    if not hindrance():
        preview(section, rows=1)


def _classify(library: Library) -> Section:
    from clipsearch.contact_sheet import Section, Tile
    from clipsearch.predictions import Predictions

    _type(f'clipsearch classify --labels "{",".join(LABELS)}" --min-prob 0.5')
    tally = Tally(LABELS)
    sure = chain.from_iterable(tally.count(library.classify_blocks(LABELS), 0.5))
    predictions = sorted(sure, key=lambda prediction: -max(prediction.probabilities))
    write_prediction_table([Predictions.of(predictions)], LABELS, top=1, limit=SHOWN)
    tally.show()
    best: dict[str, tuple[Path, float]] = {}
    for prediction in predictions:
        chance = prediction.probabilities[prediction.best]
        best.setdefault(LABELS[prediction.best], (prediction.path, chance))
    surest = [Tile(path, f"{chance:.0%}", label) for label, (path, chance) in best.items()]
    return Section("classify: the surest of each label", surest)


def _farewell(home: Path) -> None:
    _say("Now with your own photos")
    library = shlex.quote(str(home / "library"))
    for command in (
        f'clipsearch search "a hot-air balloon" --library {library}',
        "clipsearch index ~/Photos",
        'clipsearch search "brown dog on beach"',
    ):
        console().print(f"  {command}", style="cyan")


def _say(sentence: str) -> None:
    console().print()
    console().print(sentence, style="bold green")
    sys.stdout.flush()


def _type(command: str) -> None:
    """Show a command as the user would type it."""
    console().print()
    console().print(f"$ {command}", style="bold")
