"""Contact sheets: results as one picture, a row of thumbnails under each heading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont, ImageOps

from clipsearch.errors import PhotoError
from clipsearch.photos.files import read_bytes
from clipsearch.photos.guarded import Decoder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

# All in pixels.
THUMB = (240, 180)
_GAP = 16
_HEADING = 52
_CAPTION = 28
_PAPER, _INK, _FAINT = (250, 250, 248), (32, 32, 36), (120, 120, 126)


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, and the photos under it, each with a short caption."""

    heading: str
    photos: Sequence[tuple[Path, str]]


def contact_sheet(sections: Sequence[Section], *, columns: int = 5) -> Image.Image:
    """Lay sections out below each other, `columns` thumbnails a row; a photo that cannot be read stays blank.

    Returns:
        RGB, `columns` thumbnails wide and as high as needed.
    """
    width = _GAP + columns * (THUMB[0] + _GAP)
    line = THUMB[1] + _CAPTION + _GAP
    height = _GAP + sum(_HEADING + -(-len(section.photos) // columns) * line for section in sections)
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    heading_font, caption_font = ImageFont.load_default(24), ImageFont.load_default(15)
    top = _GAP
    pictures = thumbnails(path for section in sections for path, _ in section.photos)
    for section in sections:
        draw.text((_GAP, top + 10), section.heading, _INK, heading_font)
        top += _HEADING
        for start in range(0, len(section.photos), columns):
            for column, (_, caption) in enumerate(section.photos[start : start + columns]):
                left = _GAP + column * (THUMB[0] + _GAP)
                sheet.paste(next(pictures), (left, top))
                draw.text((left, top + THUMB[1] + 5), _fitted(caption, caption_font), _FAINT, caption_font)
            top += line
    return sheet


def thumbnails(paths: Iterable[Path]) -> Iterator[Image.Image]:
    """Photos, upright, within `THUMB` and centred on paper; blank where one cannot be read."""
    with Decoder() as decoder:
        for path in paths:
            try:
                picture = decoder.open_upright(read_bytes(path)[0], at_least=2 * max(THUMB))
            except (PhotoError, OSError):
                yield Image.new("RGB", THUMB, _PAPER)
            else:
                yield ImageOps.pad(picture, THUMB, Image.Resampling.LANCZOS, color=_PAPER)


def _fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """As much of a caption as fits below a thumbnail, its end kept: that is where a path says most."""
    if font.getlength(text) <= THUMB[0]:
        return text
    while text and font.getlength("…" + text) > THUMB[0]:
        text = text[1:]
    return "…" + text
