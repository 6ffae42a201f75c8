"""What grows, and what the weather and the animals add.

Each function draws one thing in a colour: `(canvas, rng, colour, night)`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from clipsearch.builtin.scenes.canvas import RGB, Canvas, mix

if TYPE_CHECKING:
    import random


def _palm(canvas: Canvas, x: float, foot: float, size: float, night: bool) -> None:
    lean = 0.16 * size
    trunk = (62, 48, 40) if night else (138, 98, 58)
    leaf = (22, 62, 45) if night else (40, 140, 60)
    canvas.line(
        [(x, foot), (x + 0.25 * lean, foot - 0.5 * size), (x + lean, foot - size)], 0.065 * size, trunk
    )
    tx, ty = x + lean, foot - size
    for k in range(8):
        angle = math.pi * (0.96 + 1.08 * k / 7)
        ex, ey = tx + 0.56 * size * math.cos(angle), ty + 0.3 * size * math.sin(angle) + 0.16 * size
        mx, my = (tx + ex) / 2, (ty + ey) / 2 - 0.2 * size
        canvas.polygon(
            [(tx, ty), (mx, my - 0.03 * size), (ex, ey), (mx - 0.02 * size, my + 0.09 * size)],
            mix(leaf, (20, 60, 25), 0.12 * (k % 3)),
        )


def palm_tree(canvas: Canvas, rng: random.Random, colour: RGB, night: bool) -> None:
    """A leaning palm tree."""
    del colour
    _palm(canvas, canvas.across(rng), 0.9, rng.uniform(0.52, 0.66), night)


def island(canvas: Canvas, rng: random.Random, colour: RGB, night: bool) -> None:
    """A small island with one palm tree."""
    del colour
    x = canvas.across(rng)
    canvas.ellipse(x, 0.72, 0.34, 0.075, (120, 105, 85) if night else (236, 208, 148))
    canvas.ellipse(x, 0.69, 0.2, 0.045, (30, 60, 45) if night else (105, 165, 75))
    _palm(canvas, x, 0.7, rng.uniform(0.36, 0.44), night)


def tree(canvas: Canvas, rng: random.Random, colour: RGB, night: bool) -> None:
    """A broad-leaved tree."""
    del colour
    x, foot, s = canvas.across(rng), rng.uniform(0.86, 0.92), rng.uniform(0.24, 0.3)
    leaf = (25, 60, 40) if night else (55, 135, 55)
    canvas.polygon(
        [
            (x - 0.13 * s, foot),
            (x + 0.13 * s, foot),
            (x + 0.07 * s, foot - 1.1 * s),
            (x - 0.07 * s, foot - 1.1 * s),
        ],
        (70, 50, 40) if night else (115, 78, 48),
    )
    for k in range(11):
        angle, reach = math.tau * k / 10, 0.5 * s if k else 0.0
        canvas.circle(
            x + reach * math.cos(angle),
            foot - 1.6 * s + 0.8 * reach * math.sin(angle),
            0.42 * s,
            mix(leaf, (150, 200, 90), 0.3 * rng.random()),
        )


def fir_tree(canvas: Canvas, rng: random.Random, colour: RGB, night: bool) -> None:
    """A fir tree, a little snowy towards the top."""
    del colour
    x, foot, s = canvas.across(rng), rng.uniform(0.86, 0.92), rng.uniform(0.55, 0.65)
    leaf = (24, 62, 48) if night else (36, 112, 66)
    canvas.box(x - 0.04 * s, foot - 0.2 * s, x + 0.04 * s, foot, (84, 58, 42))
    for k in range(4):
        low, half = foot - s * (0.12 + 0.2 * k), s * (0.34 - 0.06 * k)
        canvas.polygon(
            [(x - half, low), (x + half, low), (x, low - 0.34 * s)], mix(leaf, (240, 246, 250), 0.08 * k)
        )


def cactus(canvas: Canvas, rng: random.Random, colour: RGB, night: bool) -> None:
    """A cactus with two arms."""
    del colour
    x, foot, s = canvas.across(rng), rng.uniform(0.88, 0.94), rng.uniform(0.5, 0.6)
    green = (24, 64, 44) if night else (50, 130, 65)
    wide = 0.14 * s
    canvas.line([(x, foot), (x, foot - s)], wide, green)
    canvas.circle(x, foot - s, wide / 2, green)
    for side, low, high in ((-1, 0.4, 0.78), (1, 0.52, 0.92)):
        arm = x + side * 0.26 * s
        canvas.line([(x, foot - low * s), (arm, foot - low * s), (arm, foot - high * s)], 0.75 * wide, green)
        canvas.circle(arm, foot - high * s, 0.37 * wide, green)


def snowman(canvas: Canvas, rng: random.Random, colour: RGB, night: bool) -> None:
    """A snowman with a coloured scarf."""
    x, foot, s = canvas.across(rng), rng.uniform(0.9, 0.95), rng.uniform(0.17, 0.2)
    for up, r in ((0.85, 1.0), (2.2, 0.72), (3.2, 0.5)):
        canvas.circle(x, foot - up * s, r * s * 1.05, (95, 105, 140) if night else (165, 182, 210))
        canvas.circle(
            x - 0.05 * s, foot - up * s - 0.04 * s, r * s, (190, 198, 220) if night else (252, 253, 255)
        )
    canvas.line([(x - 0.55 * s, foot - 2.78 * s), (x + 0.55 * s, foot - 2.78 * s)], 0.22 * s, colour)
    canvas.line([(x + 0.3 * s, foot - 2.75 * s), (x + 0.4 * s, foot - 2.1 * s)], 0.2 * s, colour)
    canvas.polygon(
        [(x, foot - 3.25 * s), (x + 0.55 * s, foot - 3.12 * s), (x, foot - 3.05 * s)], (240, 125, 30)
    )
    for dx, dy in ((-0.18, 3.4), (0.16, 3.4), (0, 2.4), (0, 2.0)):
        canvas.circle(x + dx * s, foot - dy * s, 0.07 * s, (25, 25, 30))
    canvas.box(x - 0.42 * s, foot - 4.25 * s, x + 0.42 * s, foot - 3.6 * s, (35, 35, 42))
    canvas.box(x - 0.68 * s, foot - 3.7 * s, x + 0.68 * s, foot - 3.57 * s, (35, 35, 42))


def butterfly(canvas: Canvas, rng: random.Random, colour: RGB, night: bool) -> None:
    """A large butterfly."""
    del night
    x, y, s = canvas.across(rng), rng.uniform(0.34, 0.42), rng.uniform(0.2, 0.25)
    for side in (-1, 1):
        canvas.ellipse(x + side * 0.5 * s, y - 0.32 * s, 0.48 * s, 0.44 * s, mix(colour, (30, 20, 20), 0.6))
        canvas.ellipse(x + side * 0.5 * s, y - 0.32 * s, 0.4 * s, 0.36 * s, colour)
        canvas.ellipse(x + side * 0.4 * s, y + 0.32 * s, 0.34 * s, 0.36 * s, mix(colour, (30, 20, 20), 0.6))
        canvas.ellipse(
            x + side * 0.4 * s, y + 0.32 * s, 0.27 * s, 0.29 * s, mix(colour, (255, 255, 255), 0.25)
        )
        canvas.line([(x, y - 0.55 * s), (x + side * 0.22 * s, y - 0.95 * s)], 0.03 * s, (35, 28, 28))
    canvas.ellipse(x, y, 0.07 * s, 0.62 * s, (35, 28, 28))


def rainbow(canvas: Canvas, rng: random.Random, colour: RGB, night: bool) -> None:
    """A rainbow from the ground into the sky."""
    del colour, night
    x, outer = canvas.aspect * rng.uniform(0.35, 0.65), rng.uniform(0.5, 0.6)
    bands = ((228, 50, 50), (245, 145, 40), (250, 225, 60), (70, 180, 80), (60, 110, 220), (130, 70, 180))
    for k, tone in enumerate(bands):
        canvas.arc(x, 0.68, outer - 0.021 * k, 0.024, tone)
