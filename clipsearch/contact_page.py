"""Contact sheets as web pages: one file, with the thumbnails in it and no script."""

from __future__ import annotations

import base64
import io
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from PIL import Image

    from clipsearch.contact_sheet import Section, Tile

# Pixels; shown at half that, for screens with two pixels to a dot.
THUMB = (480, 360)
_QUALITY = 78  # of the JPEGs: 20 to 40 kB each
# Nothing is fetched and nothing runs, whatever a file name may hold.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; --paper: #fafaf8; --card: #fff; --ink: #202024; --faint: #6a6a70;
  --edge: #e2e2de; --accent: #00707f }
@media (prefers-color-scheme: dark) { :root { --paper: #161618; --card: #202024; --ink: #ececea;
  --faint: #a0a0a6; --edge: #34343a; --accent: #5cc8d6 } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 110rem; padding: 1.5rem; background: var(--paper); color: var(--ink);
  font: 15px/1.45 system-ui, sans-serif }
h1 { margin: 0 0 .25rem; font-size: 1.5rem; overflow-wrap: anywhere }
h2 { margin: 2rem 0 0; font-size: 1.15rem; overflow-wrap: anywhere }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: 1rem;
  margin: 1rem 0 0; padding: 0; list-style: none }
a { display: block; height: 100%; border: 1px solid var(--edge); border-radius: .5rem; overflow: hidden;
  background: var(--card); color: inherit; text-decoration: none }
a:hover, a:focus-visible { border-color: var(--accent); outline: 1px solid var(--accent) }
img, .blank { display: block; width: 100%; height: 11rem; object-fit: contain; background: var(--paper) }
.blank { display: grid; place-items: center; color: var(--faint) }
.caption { display: block; padding: .4rem .7rem .6rem; overflow-wrap: anywhere }
.figure { color: var(--accent); font-variant-numeric: tabular-nums; margin-right: .6em }
.name { color: var(--faint) }
"""


def contact_page(title: str, sections: Sequence[Section], pictures: Iterator[Image.Image | None]) -> bytes:
    """A page of thumbnails, each a link to its photo; light or dark, as the reader's system is.

    Args:
        title: Shown at the top.
        sections: What is on it.
        pictures: Thumbnails of all photos, section by section; None of one that cannot be read.

    Returns:
        HTML in UTF-8.
    """
    parts = [
        "<!DOCTYPE html>\n<html lang=en>\n<meta charset=utf-8>\n",
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">\n',
        '<meta name=viewport content="width=device-width">\n',
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n<h1>{escape(title)}</h1>\n",
    ]
    for section in sections:
        if section.heading != title:
            parts.append(f"<h2>{escape(section.heading)}</h2>\n")
        parts.append("<ul class=tiles>\n")
        parts += [_item(tile, next(pictures)) for tile in section.tiles]
        parts.append("</ul>\n")
    return "".join(parts).encode()


def _item(tile: Tile, picture: Image.Image | None) -> str:
    name = escape(tile.name)
    if picture is None:
        image = "<span class=blank>cannot be read</span>"
    else:
        size = f"width={picture.width} height={picture.height}"
        image = f'<img loading=lazy {size} alt="{name}" src="{_data(picture)}">'
    figure = f"<span class=figure>{escape(tile.figure)}</span>" if tile.figure else ""
    # https://www.w3.org/TR/media-frags/#naming-time
    place = "" if tile.seconds is None else f"#t={tile.seconds:g}"
    return (
        f'<li><a href="{escape(tile.path.as_uri() + place)}">{image}'
        f"<span class=caption>{figure}<bdi class=name>{name}</bdi></span></a></li>\n"
    )


def _data(picture: Image.Image) -> str:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
