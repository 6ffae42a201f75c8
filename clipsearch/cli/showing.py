"""The options that show photos themselves: in the terminal, in a viewer, on a page, on a sheet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from clipsearch.cli.option_groups import with_options
from clipsearch.cli.progress import Reporter
from clipsearch.cli.terminal import console, harmless, remark, shown
from clipsearch.cli.wording import at
from clipsearch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from PIL import Image

    from clipsearch.contact_sheet import Section
    from clipsearch.types import Match

_ON_PAGE, _ON_SHEET = 10_000, 1_000  # photos: about 300 MB of page, 900 MB of pixels
_PANEL = "To look at photos"


def _option(*names: str, metavar: str | None = None, help: str) -> Any:  # noqa: A002 - Typer's word
    return typer.Option(*names, metavar=metavar, help=help, rich_help_panel=_PANEL)


class Showing(NamedTuple):
    """How photos are to be shown.

    Attributes:
        preview: In the terminal.
        viewer: In the system's viewer.
        html: As a page in this file.
        sheet: As a picture in this file.
    """

    preview: bool = False
    viewer: bool = False
    html: Path | None = None
    sheet: Path | None = None

    def __bool__(self) -> bool:
        return self != NOT_SHOWN

    def show(self, sections: Sequence[Section], *, title: str = "", plot: Path | None = None) -> None:
        """Show photos in every way that was asked for.

        Args:
            sections: The photos.
            title: Of the page; the first section's heading when empty.
            plot: A picture of them that is there already, for the viewer.

        Raises:
            UsageError: A file has come to be where one is to be written, or the photos are too many for it.
            OutputError: A file cannot be written.
        """
        if self.preview:
            self._preview(sections)
        if self.html:
            from clipsearch import contact_page
            from clipsearch.new_file import write_output

            _check_room(sections, _ON_PAGE, "page")
            pictures = thumbnails_of(sections, contact_page.THUMB)
            write_output(
                self.html, contact_page.contact_page(title or sections[0].heading, sections, pictures)
            )
            remark(f"page written: {shown(self.html)}")
        if self.sheet:
            from clipsearch.contact_sheet import contact_sheet

            _check_room(sections, _ON_SHEET, "sheet")
            write_picture(self.sheet, contact_sheet(sections, thumbnails_of(sections)))
        if self.viewer:
            from clipsearch.cli.viewer import view

            best = sections[0].tiles[0]
            if other := self.html or self.sheet or plot:
                view(other)
            else:
                view(best.path, best.seconds)

    def _preview(self, sections: Sequence[Section]) -> None:
        from clipsearch.cli.preview import hindrance, preview

        if reason := hindrance():
            remark(f"no preview: {reason}")
            return
        for section in sections:
            if len(sections) > 1:
                console().print(section.heading, style="bold")
            preview(section)


NOT_SHOWN = Showing()
Plot = Annotated[
    Path | None,
    _option("--plot", metavar="FILE", help="Draw counts of the labels, and examples of each: one.png."),
]
Shown = Annotated[Showing, "the options of `_showing`"]
"""A command's parameter in whose place `shown_too` puts them."""


def _check_room(sections: Sequence[Section], most: int, what: str) -> None:
    photos = sum(len(section.tiles) for section in sections)
    if photos > most:
        raise UsageError(
            f"{photos:,} photos on one {what}; at most {most:,} have room", "ask for fewer photos, or labels"
        )


def thumbnails_of(
    sections: Sequence[Section], size: tuple[int, int] | None = None
) -> Iterator[Image.Image | None]:
    """Thumbnails of photos, section by section, with a progress bar while they are made.

    Args:
        sections: The photos.
        size: Pixels that each fits into; those of a contact sheet when None.
    """
    from clipsearch.contact_sheet import THUMB, thumbnails

    tiles = [tile for section in sections for tile in section.tiles]
    with Reporter() as reporter:
        for number, picture in enumerate(thumbnails(tiles, size or THUMB), 1):
            reporter.work("drawing", "photos", number, len(tiles))
            yield picture


def write_picture(file: Path, picture: Image.Image) -> None:
    """Write a picture as PNG, and say so.

    Raises:
        UsageError: A file has come to be there.
        OutputError: It cannot be written.
    """
    import io

    from clipsearch.new_file import write_output

    stream = io.BytesIO()
    picture.save(stream, "PNG")
    write_output(file, stream.getvalue())
    remark(f"picture written: {shown(file)}")


def match_section(heading: str, matches: Sequence[Match]) -> Section:
    """Matches as they are shown: the score, how good it is, and the file's name."""
    from clipsearch.contact_sheet import Section, Tile

    def worth(match: Match) -> str:
        return "" if match.score is None else f"{match.score:.3f} {match.strength or ''}".rstrip()

    def named(match: Match) -> str:
        return f"{harmless(match.path.name)} {at(match.photo.seconds)}".rstrip()

    tiles = [Tile(match.path, worth(match), named(match), match.photo.seconds) for match in matches]
    return Section(harmless(heading), tiles)


def new_picture(file: Path | None) -> Path | None:
    """As `new_file`, for a PNG."""
    return new_file(file, ".png")


def new_file(file: Path | None, *suffixes: str) -> Path | None:
    """A file to be written, made absolute; looked at before anything is searched.

    Raises:
        UsageError: There is a file already, or no such folder, or its name ends in none of the suffixes.
    """
    if file is None:
        return None
    from clipsearch.new_file import check_new

    wanted = file.expanduser().absolute()
    if wanted.suffix.lower() not in suffixes:
        raise UsageError(f"not a name for this kind of file: {wanted}", f"end it in {suffixes[0]}")
    check_new(wanted)
    return wanted


def _showing(
    *,
    preview: Annotated[
        bool, _option("--preview", help="Show the photos in the terminal, as sharp as it can.")
    ] = False,
    viewer: Annotated[
        bool, _option("--open", help="Open the best one in your viewer; or the page, or the sheet.")
    ] = False,
    html: Annotated[
        Path | None,
        _option("--html", metavar="FILE", help="Write a page of thumbnails with links: one.html."),
    ] = None,
    sheet: Annotated[
        Path | None, _option("--sheet", metavar="FILE", help="Write a contact sheet: one.png.")
    ] = None,
) -> Showing:
    return Showing(preview, viewer, new_file(html, ".html", ".htm"), new_picture(sheet))


def shown_too(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command these options in the place of its parameter `showing`."""
    return with_options(command, "showing", _showing)
