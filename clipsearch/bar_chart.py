"""Figures of several models as one picture: groups of bars, one for each model."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from collections.abc import Sequence

# All in pixels.
_WIDTH, _GAP, _LABEL, _VALUE = 960, 20, 280, 110
_BAR, _HEADING, _LEGEND = 24, 30, 30
_PAPER, _INK, _FAINT, _RAIL = (250, 250, 248), (32, 32, 36), (120, 120, 126), (232, 232, 228)
# Okabe and Ito 2008, "Color Universal Design": told apart by the colour-blind, too.
_COLORS = (
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (86, 180, 233),
    (213, 94, 0),
    (240, 228, 66),
)


class Bars(NamedTuple):
    """What was measured, a value a model; None where it was not.

    Attributes:
        title: Its name.
        values: One a model.
        shown: The same as text.
        most: The value of a bar of full length.
    """

    title: str
    values: Sequence[float | None]
    shown: Sequence[str]
    most: float


def bar_chart(models: Sequence[str], sections: Sequence[tuple[str, Sequence[Bars]]]) -> Image.Image:
    """Draw sections below each other, each with a heading and its bars.

    Args:
        models: What the bars of a group stand for.
        sections: Headings and figures.

    Returns:
        RGB, 960 pixels wide, as high as needed.
    """
    heading, font = ImageFont.load_default(20), ImageFont.load_default(16)
    group = len(models) * _BAR + _GAP // 2
    height = 2 * _GAP + len(models) * _LEGEND
    height += sum(_GAP + _HEADING + len(figures) * group for _, figures in sections)
    chart = Image.new("RGB", (_WIDTH, height), _PAPER)
    draw = ImageDraw.Draw(chart)
    top = _GAP
    for number, model in enumerate(models):
        draw.rectangle((_GAP, top + 5, _GAP + 18, top + 23), _color(number))
        draw.text((_GAP + 30, top + 14), _fitted(model, font, _WIDTH - 4 * _GAP), _INK, font, anchor="lm")
        top += _LEGEND
    left, right = _GAP + _LABEL, _WIDTH - _GAP - _VALUE
    for title, figures in sections:
        top += _GAP
        draw.text((_GAP, top + _HEADING // 2), title, _INK, heading, anchor="lm")
        top += _HEADING
        for bars in figures:
            draw.text((_GAP, top + len(models) * _BAR // 2), bars.title, _INK, font, anchor="lm")
            for number, (value, shown) in enumerate(zip(bars.values, bars.shown, strict=True)):
                line = top + number * _BAR
                draw.rectangle((left, line + 3, right, line + _BAR - 3), _RAIL)
                if value:
                    end = left + max(1, round((right - left) * min(1.0, value / bars.most)))
                    draw.rectangle((left, line + 3, end, line + _BAR - 3), _color(number))
                draw.text((right + _GAP // 2, line + _BAR // 2), shown, _FAINT, font, anchor="lm")
            top += group
    return chart


def _color(number: int) -> tuple[int, int, int]:
    return _COLORS[number % len(_COLORS)]


def _fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    while text and font.getlength(text) > width:
        text = "…" + text[2:]
    return text
