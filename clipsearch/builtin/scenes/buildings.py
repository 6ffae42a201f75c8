"""What people built in a landscape.

Each function draws one thing in a colour: `(canvas, rng, colour, night)`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from clipsearch.builtin.scenes.canvas import RGB, Canvas, mix

if TYPE_CHECKING:
    import random


def lighthouse(canvas: Canvas, rng: random.Random, colour: RGB, night: bool) -> None:
    """A striped lighthouse on its rock, lit at night."""
    x, base = canvas.across(rng), 0.68
    canvas.polygon(
        [(x - 0.26, base + 0.03), (x - 0.12, base - 0.07), (x + 0.14, base - 0.06), (x + 0.28, base + 0.03)],
        (82, 76, 72),
    )
    white = (175, 178, 195) if night else (245, 244, 240)
    for k in range(5):
        low, high = base - 0.06 - 0.085 * k, base - 0.06 - 0.085 * (k + 1)
        wide, thin = 0.062 - 0.006 * k, 0.062 - 0.006 * (k + 1)
        canvas.polygon(
            [(x - wide, low), (x + wide, low), (x + thin, high), (x - thin, high)], white if k % 2 else colour
        )
    top = base - 0.06 - 0.425
    if night:
        canvas.glow(x, top - 0.03, 0.28, (255, 240, 170), 0.9)
    canvas.box(x - 0.026, top - 0.055, x + 0.026, top, (255, 240, 150))
    canvas.polygon(
        [(x - 0.042, top - 0.05), (x, top - 0.11), (x + 0.042, top - 0.05)], mix(colour, (50, 30, 30), 0.4)
    )


def house(canvas: Canvas, rng: random.Random, colour: RGB, night: bool) -> None:
    """A house with a coloured roof, a door and two windows."""
    x, foot, s = canvas.across(rng), rng.uniform(0.82, 0.88), rng.uniform(0.2, 0.26)
    wall = (105, 100, 110) if night else (244, 232, 208)
    canvas.box(x - s, foot - 0.95 * s, x + s, foot, wall)
    canvas.box(x + 0.45 * s, foot - 1.75 * s, x + 0.68 * s, foot - 1.1 * s, (122, 82, 70))
    canvas.polygon(
        [(x - 1.25 * s, foot - 0.9 * s), (x, foot - 1.85 * s), (x + 1.25 * s, foot - 0.9 * s)], colour
    )
    window = (255, 220, 120) if night else (140, 190, 225)
    canvas.box(x - 0.16 * s, foot - 0.6 * s, x + 0.18 * s, foot, (110, 70, 45))
    for side in (-0.75, 0.42):
        canvas.box(x + side * s, foot - 0.68 * s, x + (side + 0.34) * s, foot - 0.32 * s, window)


def windmill(canvas: Canvas, rng: random.Random, colour: RGB, night: bool) -> None:
    """A windmill with four turning sails."""
    x, foot, s = canvas.across(rng), rng.uniform(0.84, 0.9), rng.uniform(0.4, 0.48)
    body = mix(colour, (60, 60, 85), 0.5) if night else colour
    canvas.polygon(
        [(x - 0.2 * s, foot), (x + 0.2 * s, foot), (x + 0.12 * s, foot - s), (x - 0.12 * s, foot - s)], body
    )
    canvas.polygon([(x - 0.15 * s, foot - s), (x + 0.15 * s, foot - s), (x, foot - 1.18 * s)], (115, 65, 50))
    turn = rng.uniform(0.2, 1.3)
    for k in range(4):
        angle = turn + math.pi * k / 2
        dx, dy = math.cos(angle), math.sin(angle)
        hub_x, hub_y = x, foot - 0.98 * s
        tip = 0.62 * s
        sail = [
            (hub_x + along * tip * dx - aside * tip * dy, hub_y + along * tip * dy + aside * tip * dx)
            for along, aside in ((0.1, 0.0), (1.0, 0.0), (1.0, 0.26), (0.25, 0.2))
        ]
        canvas.polygon(sail, (150, 150, 160) if night else (250, 246, 236))


def castle(canvas: Canvas, rng: random.Random, colour: RGB, night: bool) -> None:
    """A castle with two towers under coloured roofs."""
    x, foot, s = canvas.across(rng), 0.8, rng.uniform(0.26, 0.32)
    stone = (85, 85, 100) if night else (182, 172, 160)
    canvas.box(x - s, foot - 0.75 * s, x + s, foot, stone)
    for k in range(7):
        left = x - s + k * 2 * s / 7
        canvas.box(left, foot - 0.87 * s, left + s / 7, foot - 0.74 * s, stone)
    for side in (-1.0, 1.0):
        canvas.box(
            x + side * s - 0.26 * s,
            foot - 1.25 * s,
            x + side * s + 0.26 * s,
            foot,
            mix(stone, (60, 60, 70), 0.15),
        )
        canvas.polygon(
            [
                (x + side * s - 0.36 * s, foot - 1.22 * s),
                (x + side * s, foot - 1.9 * s),
                (x + side * s + 0.36 * s, foot - 1.22 * s),
            ],
            colour,
        )
    canvas.box(x - 0.2 * s, foot - 0.32 * s, x + 0.2 * s, foot, (60, 45, 40))
    canvas.circle(x, foot - 0.32 * s, 0.2 * s, (60, 45, 40))


def pyramid(canvas: Canvas, rng: random.Random, colour: RGB, night: bool) -> None:
    """A stone pyramid with one side in the shade."""
    del colour
    x, foot, s = canvas.across(rng), 0.82, rng.uniform(0.36, 0.44)
    stone = (95, 85, 85) if night else (226, 186, 112)
    canvas.polygon([(x - s, foot), (x, foot - 1.15 * s), (x + s, foot)], stone)
    canvas.polygon([(x, foot - 1.15 * s), (x + s, foot), (x + 0.3 * s, foot)], mix(stone, (90, 55, 25), 0.4))


def tent(canvas: Canvas, rng: random.Random, colour: RGB, night: bool) -> None:
    """A tent, glowing from inside at night."""
    x, foot, s = canvas.across(rng), rng.uniform(0.88, 0.94), rng.uniform(0.26, 0.34)
    if night:
        canvas.glow(x, foot - 0.4 * s, 1.1 * s, (255, 210, 120), 0.6)
    canvas.polygon([(x - s, foot), (x, foot - 1.05 * s), (x + s, foot)], colour)
    canvas.polygon(
        [(x - 0.3 * s, foot), (x, foot - 1.0 * s), (x + 0.3 * s, foot)], mix(colour, (25, 20, 25), 0.55)
    )
    canvas.polygon(
        [
            (x, foot - 1.05 * s),
            (x + s, foot),
            (x + 1.35 * s, foot - 0.22 * s),
            (x + 0.28 * s, foot - 1.02 * s),
        ],
        mix(colour, (20, 20, 40), 0.25),
    )


def beach_umbrella(canvas: Canvas, rng: random.Random, colour: RGB, night: bool) -> None:
    """A striped umbrella in the sand."""
    x, top, s = canvas.across(rng), rng.uniform(0.42, 0.48), rng.uniform(0.24, 0.3)
    canvas.line([(x, top), (x, 0.93)], 0.018, (120, 110, 100) if night else (240, 236, 228))
    for k in range(6):
        a, b = math.pi * (1 + k / 6), math.pi * (1 + (k + 1) / 6)
        points = [
            (x + s * math.cos(a + (b - a) * t / 6), top + 0.25 * s + s * 0.85 * math.sin(a + (b - a) * t / 6))
            for t in range(7)
        ]
        canvas.polygon(
            [(x, top - 0.55 * s), *points], colour if k % 2 == 0 else mix(colour, (255, 255, 255), 0.35)
        )
