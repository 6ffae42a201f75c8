"""Contact sheets: results as one picture, rows of thumbnails under each heading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont, ImageOps

from clipsearch.errors import PhotoError
from clipsearch.photos.guarded import Decoder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

# All in pixels.
THUMB = (240, 180)
_GAP = 16
_HEADING = 52
_CAPTION = 28
_PAPER, _INK, _FAINT, _BAR = (250, 250, 248), (32, 32, 36), (120, 120, 126), (0, 130, 150)
_BAR_LINE = 28
_LABEL = 300  # width of the labels beside the bars
_COUNT = 170  # and of the counts


@dataclass(frozen=True, slots=True)
class Tile:
    """A photo as it is shown.

    Attributes:
        path: Absolute.
        figure: Its score or probability; may be empty.
        name: Harmless to print.
        seconds: Of a video, which frame; None for the first that shows something.
    """

    path: Path
    figure: str
    name: str
    seconds: float | None = None

    @property
    def caption(self) -> str:
        """The line below it."""
        return f"{self.figure}  {self.name}".lstrip()


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, and the photos under it."""

    heading: str
    tiles: Sequence[Tile]


def contact_sheet(
    sections: Sequence[Section], pictures: Iterator[Image.Image | None], *, columns: int = 5
) -> Image.Image:
    """Lay sections out below each other, `columns` thumbnails a row; a photo that cannot be read stays blank.

    Args:
        sections: What is on it.
        pictures: Thumbnails of all photos, section by section; None of one that cannot be read.
        columns: Thumbnails a row.

    Returns:
        RGB, `columns` thumbnails wide and as high as needed.
    """
    line = THUMB[1] + _CAPTION + _GAP
    height = _GAP + sum(_HEADING + -(-len(section.tiles) // columns) * line for section in sections)
    sheet = Image.new("RGB", (_width(columns), height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    heading_font, caption_font = ImageFont.load_default(24), ImageFont.load_default(15)
    top = _GAP
    for section in sections:
        draw.text((_GAP, top + 10), section.heading, _INK, heading_font)
        top += _HEADING
        for start in range(0, len(section.tiles), columns):
            for column, tile in enumerate(section.tiles[start : start + columns]):
                left = _GAP + column * (THUMB[0] + _GAP)
                if picture := next(pictures):
                    sheet.paste(ImageOps.pad(picture, THUMB, color=_PAPER), (left, top))
                draw.text(
                    (left, top + THUMB[1] + 5), _fitted(tile.caption, caption_font), _FAINT, caption_font
                )
            top += line
    return sheet


def label_plot(
    counts: Sequence[tuple[str, int]],
    sections: Sequence[Section],
    pictures: Iterator[Image.Image | None],
    *,
    columns: int = 5,
) -> Image.Image:
    """How many photos each label has, as bars, and below them a contact sheet.

    Args:
        counts: Labels and numbers of photos, in the order shown.
        sections: See `contact_sheet`, and so are `pictures` and `columns`.
        pictures: See `contact_sheet`.
        columns: See `contact_sheet`.
    """
    below = contact_sheet(sections, pictures, columns=columns)
    bars = Image.new("RGB", (below.width, 2 * _GAP + len(counts) * _BAR_LINE), _PAPER)
    draw = ImageDraw.Draw(bars)
    font = ImageFont.load_default(17)
    total = sum(number for _, number in counts)
    longest = below.width - 4 * _GAP - _LABEL - _COUNT
    for line, (label, number) in enumerate(counts):
        middle = 2 * _GAP + line * _BAR_LINE + _BAR_LINE // 2
        draw.text((_GAP, middle), _fitted(label, font, _LABEL), _INK, font, anchor="lm")
        left = 2 * _GAP + _LABEL + _COUNT
        draw.text((left - _GAP, middle), f"{number:,}   {number / total:.1%}", _FAINT, font, anchor="rm")
        if number:
            right = left + max(1, longest * number // max(number for _, number in counts))
            draw.rectangle((left, middle - 8, right, middle + 8), _BAR)
    plot = Image.new("RGB", (below.width, bars.height + below.height), _PAPER)
    plot.paste(bars, (0, 0))
    plot.paste(below, (0, bars.height))
    return plot


def thumbnails(tiles: Iterable[Tile], size: tuple[int, int] = THUMB) -> Iterator[Image.Image | None]:
    """Photos, upright, and frames of videos, scaled to fit into `size`; None where one cannot be read."""
    with Decoder() as decoder:
        for tile in tiles:
            try:
                picture = decoder.open_file(tile.path, tile.seconds, at_least=2 * max(size))
            except (PhotoError, OSError):
                yield None
            else:
                yield ImageOps.contain(picture, size, Image.Resampling.LANCZOS)


def _width(columns: int) -> int:
    return _GAP + columns * (THUMB[0] + _GAP)


def _fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int = THUMB[0]) -> str:
    """As much of a caption as fits below a thumbnail, its end kept: that is where a path says most."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength("…" + text) > width:
        text = text[1:]
    return "…" + text
