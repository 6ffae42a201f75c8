"""A small antialiased canvas and the colours that captions may name."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from PIL import Image, ImageDraw

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

RGB = tuple[int, int, int]
Point = tuple[float, float]

_OVERSAMPLING: Final = ((4, 128), (3, 320), (2, math.inf))
"""How much larger a canvas is than the picture, for a longest side up to so many pixels."""

COLOURS: Final[dict[str, RGB]] = {
    "red": (215, 30, 35),
    "orange": (245, 135, 20),
    "yellow": (250, 215, 30),
    "green": (40, 155, 60),
    "blue": (35, 80, 205),
    "purple": (125, 45, 165),
    "pink": (245, 130, 180),
    "brown": (125, 75, 35),
    "black": (20, 20, 22),
    "white": (248, 248, 246),
    "gray": (135, 137, 140),
}
"""The named colours, as they are before :func:`shade_of` varies them."""


def shade_of(colour: str, rng: random.Random, spread: int = 12) -> RGB:
    """Return a shade of a named colour, each channel at most `spread` levels off."""
    red, green, blue = COLOURS[colour]
    return clamp(
        red + rng.randint(-spread, spread),
        green + rng.randint(-spread, spread),
        blue + rng.randint(-spread, spread),
    )


def clamp(red: float, green: float, blue: float) -> RGB:
    """Round three channel values into 0..255."""
    return (
        max(0, min(255, round(red))),
        max(0, min(255, round(green))),
        max(0, min(255, round(blue))),
    )


def mix(first: RGB, second: RGB, share: float) -> RGB:
    """Blend two colours; `share` 0 gives the first, 1 the second."""
    kept = 1 - share
    return clamp(
        first[0] * kept + second[0] * share,
        first[1] * kept + second[1] * share,
        first[2] * kept + second[2] * share,
    )


def ripple(rng: random.Random, steps: int, octaves: int = 4) -> list[float]:
    """Return `steps` heights of a smooth random line, within -1..1."""
    waves = [(rng.uniform(0.6, 1.4) * 2**k, rng.uniform(0, math.tau), 0.55**k) for k in range(octaves)]
    total = sum(weight for _, _, weight in waves)
    return [
        sum(w * math.sin(math.tau * f * i / max(1, steps - 1) + p) for f, p, w in waves) / total
        for i in range(steps)
    ]


class Canvas:
    """A picture drawn larger than asked and reduced at the end, so that edges are smooth.

    Coordinates are in units of the picture's height: y runs from 0 (top) to 1,
    x from 0 to `aspect` (width divided by height).
    """

    def __init__(self, width: int, height: int) -> None:
        """Make a black canvas of `width` x `height` finished pixels."""
        longest = max(width, height)
        self._scale = next(scale for scale, most in _OVERSAMPLING if longest <= most)
        self._image = Image.new("RGB", (width * self._scale, height * self._scale))
        self._draw = ImageDraw.Draw(self._image)
        self._unit = float(height * self._scale)
        self.aspect = width / height

    def across(self, rng: random.Random) -> float:
        """Return a random x in the middle part of the canvas."""
        return self.aspect * rng.uniform(0.28, 0.72)

    def _pixels(self, points: Sequence[Point]) -> list[Point]:
        return [(x * self._unit, y * self._unit) for x, y in points]

    def fill(self, colour: RGB) -> None:
        """Paint the whole canvas in one colour."""
        self._image.paste(colour, (0, 0, *self._image.size))

    def gradient(
        self, start: RGB, end: RGB, top: float = 0.0, bottom: float = 1.0, *, across: bool = False
    ) -> None:
        """Fill the band between two heights with a gradient, downwards or from left to right."""
        ramp = Image.linear_gradient("L")
        if across:
            ramp = ramp.transpose(Image.Transpose.ROTATE_90)
        upper, lower = round(top * self._unit), round(bottom * self._unit)
        size = (self._image.width, max(1, lower - upper))
        band = Image.new("RGB", size, start)
        band.paste(end, (0, 0, *size), ramp.resize(size))
        self._image.paste(band, (0, upper))

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: RGB) -> None:
        """Draw a filled ellipse around (x, y)."""
        unit = self._unit
        self._draw.ellipse(((x - rx) * unit, (y - ry) * unit, (x + rx) * unit, (y + ry) * unit), fill=colour)

    def circle(self, x: float, y: float, radius: float, colour: RGB) -> None:
        """Draw a filled circle around (x, y)."""
        self.ellipse(x, y, radius, radius, colour)

    def ring(self, x: float, y: float, radius: float, width: float, colour: RGB) -> None:
        """Draw a circle's outline of the given width, inside `radius`."""
        unit = self._unit
        self._draw.ellipse(
            ((x - radius) * unit, (y - radius) * unit, (x + radius) * unit, (y + radius) * unit),
            outline=colour,
            width=max(1, round(width * unit)),
        )

    def polygon(self, points: Sequence[Point], colour: RGB) -> None:
        """Draw a filled polygon."""
        self._draw.polygon(self._pixels(points), fill=colour)

    def box(self, left: float, top: float, right: float, bottom: float, colour: RGB) -> None:
        """Draw a filled upright rectangle."""
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], colour)

    def line(self, points: Sequence[Point], width: float, colour: RGB) -> None:
        """Draw a line through the points, with joints rounded."""
        self._draw.line(
            self._pixels(points), fill=colour, width=max(1, round(width * self._unit)), joint="curve"
        )

    def arc(self, x: float, y: float, radius: float, width: float, colour: RGB) -> None:
        """Draw the upper half of a circle's outline."""
        unit = self._unit
        self._draw.arc(
            ((x - radius) * unit, (y - radius) * unit, (x + radius) * unit, (y + radius) * unit),
            180,
            360,
            fill=colour,
            width=max(1, round(width * unit)),
        )

    def glow(self, x: float, y: float, radius: float, colour: RGB, strength: float = 1.0) -> None:
        """Let light of a colour fall off from (x, y) to nothing at `radius`."""
        side = max(2, round(2 * radius * self._unit))
        mask = Image.radial_gradient("L").point(
            [max(0, round((255 - level * 1.42) * strength)) for level in range(256)]
        )
        corner = (round((x - radius) * self._unit), round((y - radius) * self._unit))
        self._image.paste(colour, (*corner, corner[0] + side, corner[1] + side), mask.resize((side, side)))

    def ridge(self, heights: Sequence[float], base: float, swing: float, colour: RGB) -> None:
        """Fill everything below a line of heights (-1..1, times `swing`, around `base`)."""
        last = len(heights) - 1
        crest = [(self.aspect * i / last, base - swing * h) for i, h in enumerate(heights)]
        self.polygon([*crest, (self.aspect, 1.01), (0.0, 1.01)], colour)

    def finish(self) -> Image.Image:
        """Return the picture at its finished size."""
        return self._image.reduce(self._scale)
