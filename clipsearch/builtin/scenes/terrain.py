"""Skies, weather and the lands below them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from clipsearch.builtin.captions import chance
from clipsearch.builtin.scenes.canvas import RGB, Canvas, mix, ripple, shade_of

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

_SKIES: Final[dict[str, tuple[RGB, RGB]]] = {
    "sunny": ((50, 125, 225), (185, 222, 250)),
    "cloudy": ((150, 158, 168), (205, 210, 215)),
    "sunset": ((95, 60, 135), (255, 165, 75)),
    "night": ((8, 10, 38), (35, 45, 95)),
    "rain": ((88, 98, 112), (140, 150, 160)),
    "snowfall": ((165, 175, 192), (215, 221, 230)),
}
LIGHT: Final[dict[str, tuple[RGB, float]]] = {
    "sunny": ((255, 255, 255), 0.0),
    "cloudy": ((130, 135, 145), 0.22),
    "sunset": ((110, 50, 60), 0.32),
    "night": ((8, 12, 40), 0.68),
    "rain": ((85, 95, 108), 0.42),
    "snowfall": ((225, 230, 238), 0.35),
}
"""The veil of colour that a weather lays over a land, and how thick it is."""


def sky(canvas: Canvas, rng: random.Random, weather: str) -> None:
    """Paint the sky of a weather, with its sun, moon, stars or clouds."""
    top, bottom = _SKIES[weather]
    canvas.gradient(top, bottom, 0.0, 0.68)
    canvas.gradient(bottom, bottom, 0.68, 1.0)
    aspect = canvas.aspect
    x = rng.uniform(0.15, 0.85) * aspect
    if weather == "sunny":
        y = rng.uniform(0.1, 0.22)
        canvas.glow(x, y, 0.3, (255, 250, 215), 0.8)
        canvas.circle(x, y, 0.065, (255, 240, 130))
        for _ in range(rng.randint(0, 3)):
            _cloud(canvas, rng, (255, 255, 255))
    elif weather == "sunset":
        y = rng.uniform(0.4, 0.5)
        canvas.glow(x, y, 0.6, (255, 205, 90), 0.9)
        canvas.circle(x, y, 0.09, (255, 235, 150))
        for _ in range(rng.randint(1, 4)):
            level = rng.uniform(0.08, 0.4)
            start = rng.uniform(-0.1, 0.8) * aspect
            canvas.ellipse(start, level, rng.uniform(0.15, 0.4), 0.012, (235, 115, 95))
    elif weather == "night":
        for _ in range(round(70 * aspect)):
            glint = rng.randint(150, 255)
            spot = rng.uniform(0.002, 0.0065)
            canvas.circle(rng.uniform(0, aspect), rng.uniform(0, 0.6), spot, (glint, glint, 235))
        y = rng.uniform(0.12, 0.24)
        canvas.glow(x, y, 0.25, (190, 200, 235), 0.5)
        canvas.circle(x, y, 0.075, (245, 242, 215))
        if chance(rng, 0.5):
            canvas.circle(x + 0.035, y - 0.015, 0.066, mix(top, bottom, 0.3))
    else:
        tone = {"cloudy": (232, 234, 238), "rain": (70, 78, 90), "snowfall": (240, 243, 248)}[weather]
        for _ in range(rng.randint(6, 9)):
            _cloud(canvas, rng, tone)


def _cloud(canvas: Canvas, rng: random.Random, tone: RGB) -> None:
    x, y, size = rng.uniform(0, canvas.aspect), rng.uniform(0.04, 0.3), rng.uniform(0.04, 0.075)
    shaded = mix(tone, (140, 150, 165), 0.2)
    puffs = [(rng.uniform(-2.2, 2.2), rng.uniform(-0.5, 0.5), rng.uniform(0.7, 1.3)) for _ in range(6)]
    for colour, drop in ((shaded, 0.25), (tone, 0.0)):
        for dx, dy, scale in puffs:
            canvas.ellipse(x + dx * size, y + (dy + drop) * size, size * scale * 1.25, size * scale, colour)


def falling(canvas: Canvas, rng: random.Random, weather: str) -> None:
    """Let rain or snow fall over the finished picture, if the weather has any."""
    if weather == "rain":
        for _ in range(round(90 * canvas.aspect)):
            x, y, length = rng.uniform(0, canvas.aspect), rng.uniform(-0.05, 1), rng.uniform(0.05, 0.1)
            canvas.line([(x, y), (x - length * 0.25, y + length)], 0.005, (190, 205, 222))
    elif weather == "snowfall":
        for _ in range(round(110 * canvas.aspect)):
            spot = rng.uniform(0.005, 0.013)
            canvas.circle(rng.uniform(0, canvas.aspect), rng.uniform(0, 1), spot, (253, 254, 255))


def _water(canvas: Canvas, rng: random.Random, top: float, weather: str) -> None:
    shallow, deep = {
        "sunny": ((80, 165, 215), (15, 85, 165)), "cloudy": ((130, 152, 165), (65, 92, 112)),
        "sunset": ((250, 155, 85), (85, 50, 100)), "night": ((30, 42, 85), (8, 12, 35)),
        "rain": ((100, 115, 126), (52, 66, 80)), "snowfall": ((150, 170, 185), (85, 110, 130)),
    }[weather]  # fmt: skip
    canvas.gradient(shallow, deep, top, 1.0)
    for _ in range(round(42 * canvas.aspect)):
        depth = rng.random() ** 1.5
        y = top + 0.01 + depth * (0.98 - top)
        length = 0.02 + 0.07 * depth
        x = rng.uniform(-0.05, canvas.aspect)
        bright = mix(shallow, (255, 255, 255), 0.35)
        wave = [(x, y), (x + length / 2, y - 0.006 * (depth + 0.3)), (x + length, y)]
        canvas.line(wave, 0.004 + 0.004 * depth, mix(bright, deep, 0.2 + 0.4 * rng.random()))


def _peaks(canvas: Canvas, rng: random.Random, base: float, height: float, *, rock: RGB, cap: RGB) -> None:
    x = rng.uniform(-0.2, 0.0)
    while x < canvas.aspect + 0.1:
        half, tall = rng.uniform(0.22, 0.36), height * rng.uniform(0.65, 1.0)
        peak = base - tall
        canvas.polygon([(x - half, base), (x, peak), (x + half, base)], rock)
        canvas.polygon([(x, peak), (x + half, base), (x + half * 0.15, base)], mix(rock, (30, 34, 48), 0.25))
        line = 0.42
        canvas.polygon(
            [(x, peak), (x + half * line, peak + tall * line), (x + half * 0.16, peak + tall * 0.33),
             (x + half * 0.02, peak + tall * 0.47), (x - half * 0.18, peak + tall * 0.34),
             (x - half * line, peak + tall * line)], cap)  # fmt: skip
        x += half * rng.uniform(0.75, 1.15)


def _firs(
    canvas: Canvas, rng: random.Random, base: float, count: int, tones: list[RGB], *, round_top: bool
) -> None:
    for depth in sorted(rng.random() for _ in range(count)):
        x, size = rng.uniform(0, canvas.aspect), 0.26 + 0.26 * depth
        foot = base + 0.3 * depth
        tone = mix(rng.choice(tones), (255, 255, 255), 0.16 * (1 - depth))
        canvas.box(x - size * 0.04, foot - size * 0.25, x + size * 0.04, foot, (74, 50, 35))
        if round_top:
            for dx, dy, r in ((-0.16, -0.45, 0.2), (0.16, -0.47, 0.2), (0, -0.68, 0.22), (0, -0.45, 0.2)):
                canvas.circle(x + dx * size, foot + dy * size, r * size, tone)
            canvas.circle(x - 0.05 * size, foot - 0.7 * size, 0.12 * size, mix(tone, (255, 240, 190), 0.2))
        else:
            for k in range(3):
                top, low, half = (
                    foot - size * (1 - 0.24 * k),
                    foot - size * (0.52 - 0.2 * k),
                    size * (0.16 + 0.07 * k),
                )
                canvas.polygon(
                    [(x, top), (x + half, low), (x - half, low)], mix(tone, (10, 20, 15), 0.14 * (2 - k))
                )


@dataclass(frozen=True)
class Stage:
    """Where a landscape is painted: below the sky, in the light of a weather."""

    canvas: Canvas
    rng: random.Random
    weather: str
    horizon: float
    grass: RGB

    def lit(self, colour: RGB) -> RGB:
        """Return a colour as it looks in this weather."""
        return mix(colour, *LIGHT[self.weather])


def land(canvas: Canvas, rng: random.Random, ground: str, weather: str) -> None:
    """Paint one of :data:`LANDS` below the sky."""
    horizon = rng.uniform(0.52, 0.62)
    green = mix((105, 175, 65), (60, 140, 60), rng.random())
    LANDS[ground](Stage(canvas, rng, weather, horizon, mix(green, *LIGHT[weather])))


def _sea(stage: Stage) -> None:
    _water(stage.canvas, stage.rng, stage.horizon, stage.weather)


def _lake(stage: Stage) -> None:
    canvas, rng, lit = stage.canvas, stage.rng, stage.lit
    _peaks(canvas, rng, stage.horizon, 0.34, rock=lit((110, 118, 138)), cap=lit((240, 244, 250)))
    canvas.ridge(ripple(rng, 24), stage.horizon - 0.01, 0.015, lit((55, 110, 65)))
    _sea(stage)


def _beach(stage: Stage) -> None:
    _sea(stage)
    shore = ripple(stage.rng, 24, 3)
    for level, tone in ((0.745, (250, 252, 250)), (0.765, (215, 185, 130)), (0.8, (242, 215, 155))):
        stage.canvas.ridge(shore, level, 0.03, stage.lit(tone))


def _meadow(stage: Stage) -> None:
    canvas, rng, horizon, grass = stage.canvas, stage.rng, stage.horizon, stage.grass
    far = mix(grass, stage.lit((120, 165, 140)), 0.5)
    canvas.ridge(ripple(rng, 24), horizon + 0.02, 0.03, far)
    near, front = mix(grass, (255, 255, 200), 0.12), mix(grass, (20, 60, 20), 0.25)
    canvas.gradient(near, front, horizon + 0.05, 1.0)
    for _ in range(round(40 * canvas.aspect)):
        x, y = rng.uniform(0, canvas.aspect), rng.uniform(horizon + 0.1, 1)
        tip = (x + rng.uniform(-0.01, 0.01), y - 0.03)
        canvas.line([(x, y), tip], 0.005, mix(grass, (20, 80, 20), 0.35))


def _flower_meadow(stage: Stage) -> None:
    canvas, rng, horizon, lit = stage.canvas, stage.rng, stage.horizon, stage.lit
    _meadow(stage)
    tones = [lit(shade_of(c, rng)) for c in rng.sample(["red", "yellow", "white", "pink", "purple"], 3)]
    for depth in sorted(rng.random() for _ in range(round(75 * canvas.aspect))):
        x, y = rng.uniform(0, canvas.aspect), horizon + 0.1 + depth * (0.9 - horizon)
        petal = 0.008 + 0.016 * depth
        tone = rng.choice(tones)
        for k in range(5):
            angle = math.tau * k / 5
            canvas.circle(x + petal * math.cos(angle), y + petal * math.sin(angle), petal * 0.72, tone)
        canvas.circle(x, y, petal * 0.55, lit((250, 200, 50)))


def _hills(stage: Stage) -> None:
    for k in range(4):
        tone = mix(stage.lit((135, 190, 120)), stage.grass, k / 3)
        stage.canvas.ridge(ripple(stage.rng, 40, 2), stage.horizon + 0.11 * k, 0.07, tone)


def _mountains(stage: Stage) -> None:
    canvas, rng, lit = stage.canvas, stage.rng, stage.lit
    _peaks(canvas, rng, 0.8, 0.58, rock=lit((125, 132, 152)), cap=lit((250, 252, 255)))
    canvas.ridge(ripple(rng, 30), 0.8, 0.04, lit((70, 110, 75)))
    canvas.ridge(ripple(rng, 30), 0.9, 0.04, lit((50, 92, 55)))


def _forest(stage: Stage) -> None:
    canvas, lit = stage.canvas, stage.lit
    canvas.gradient(lit((70, 110, 60)), lit((35, 70, 40)), stage.horizon, 1.0)
    tones = [lit(tone) for tone in ((25, 90, 50), (35, 110, 60), (20, 75, 45))]
    _firs(canvas, stage.rng, stage.horizon + 0.08, round(26 * canvas.aspect), tones, round_top=False)


def _autumn_forest(stage: Stage) -> None:
    canvas, lit = stage.canvas, stage.lit
    canvas.gradient(lit((150, 110, 55)), lit((95, 65, 35)), stage.horizon, 1.0)
    tones = [lit(tone) for tone in ((225, 120, 30), (205, 75, 30), (235, 175, 45))]
    _firs(canvas, stage.rng, stage.horizon + 0.08, round(26 * canvas.aspect), tones, round_top=True)


def _desert(stage: Stage) -> None:
    for k in range(3):
        tone = stage.lit(mix((240, 200, 130), (205, 145, 75), k / 2))
        stage.canvas.ridge(ripple(stage.rng, 40, 2), stage.horizon + 0.04 + 0.14 * k, 0.07, tone)


def _snow(stage: Stage) -> None:
    canvas, rng, horizon, lit = stage.canvas, stage.rng, stage.horizon, stage.lit
    canvas.ridge(ripple(rng, 40, 2), horizon + 0.02, 0.04, lit((215, 226, 240)))
    _firs(canvas, rng, horizon + 0.02, 4, [lit((60, 95, 85))], round_top=False)
    canvas.ridge(ripple(rng, 40, 2), horizon + 0.14, 0.04, lit((246, 249, 253)))


def _road(stage: Stage) -> None:
    canvas, horizon, lit, grass = stage.canvas, stage.horizon, stage.lit, stage.grass
    canvas.gradient(mix(grass, (255, 255, 200), 0.15), grass, horizon, 1.0)
    middle = canvas.aspect * stage.rng.uniform(0.42, 0.58)
    wide = min(canvas.aspect, 1.2) * 0.42
    surface = [(middle - 0.02, horizon), (middle + 0.02, horizon), (middle + wide, 1.0), (middle - wide, 1.0)]
    canvas.polygon(surface, lit((92, 94, 100)))
    for k in range(6):
        near, far = (k + 0.9) / 6, (k + 0.4) / 6
        low, high = horizon + (1 - horizon) * near**1.6, horizon + (1 - horizon) * far**1.6
        thin, thick = 0.014 * far, 0.024 * near
        dash = [(middle - thin, high), (middle + thin, high), (middle + thick, low), (middle - thick, low)]
        canvas.polygon(dash, lit((245, 240, 215)))


def _city(stage: Stage) -> None:
    canvas, rng, weather, lit = stage.canvas, stage.rng, stage.weather, stage.lit
    dark = weather in {"night", "sunset", "rain"}
    for layer, base_tone in enumerate(((150, 162, 182), (88, 98, 122))):
        x = rng.uniform(-0.08, 0.0)
        while x < canvas.aspect:
            wide, top = rng.uniform(0.09, 0.17), rng.uniform(0.22, 0.58) + 0.1 * layer
            tone = lit(mix(base_tone, (130, 105, 95), 0.35 * rng.random()))
            canvas.box(x, top, x + wide, 1, tone)
            if chance(rng, 0.3):
                canvas.box(x + wide * 0.45, top - 0.07, x + wide * 0.55, top, tone)
            if layer:
                window = (255, 222, 125) if dark else (200, 222, 240)
                for row in range(int((0.95 - top) / 0.055)):
                    for column in range(3):
                        if chance(rng, 0.7):
                            left, high = x + wide * (0.14 + 0.27 * column), top + 0.025 + row * 0.055
                            canvas.box(left, high, left + wide * 0.17, high + 0.028, window)
            x += wide + rng.uniform(0.0, 0.03)
    canvas.box(0, 0.93, canvas.aspect, 1, lit((66, 68, 76)))


def _waterfall(stage: Stage) -> None:
    canvas, rng, lit = stage.canvas, stage.rng, stage.lit
    aspect = canvas.aspect
    middle, half = aspect * rng.uniform(0.4, 0.6), rng.uniform(0.1, 0.16)
    rock = lit((112, 102, 94))
    top = 0.26
    canvas.ridge(ripple(rng, 24), top, 0.04, lit((70, 130, 65)))
    canvas.box(0, top + 0.05, aspect, 1, rock)
    for _ in range(round(30 * aspect)):
        x, y, size = rng.uniform(0, aspect), rng.uniform(top + 0.1, 0.85), rng.uniform(0.03, 0.07)
        canvas.polygon(
            [(x - size, y), (x, y - size), (x + size, y), (x, y + size * 0.7)],
            mix(rock, (40, 38, 40), rng.uniform(0.1, 0.4)),
        )
    canvas.box(middle - half, top + 0.01, middle + half, 0.84, lit((222, 238, 250)))
    for _ in range(26):
        x = rng.uniform(middle - half, middle + half)
        y = rng.uniform(top, 0.6)
        canvas.line(
            [(x, y), (x, y + rng.uniform(0.1, 0.24))],
            0.008,
            lit(mix((150, 195, 230), (255, 255, 255), rng.random())),
        )
    canvas.gradient(lit((95, 175, 205)), lit((35, 105, 145)), 0.82, 1.0)
    for _ in range(16):
        canvas.ellipse(
            middle + rng.uniform(-1.5, 1.5) * half,
            0.83 + rng.uniform(-0.015, 0.03),
            0.06,
            0.022,
            lit((240, 248, 253)),
        )


LANDS: Final[dict[str, Callable[[Stage], None]]] = {
    "sea": _sea,
    "beach": _beach,
    "meadow": _meadow,
    "flower meadow": _flower_meadow,
    "hills": _hills,
    "mountains": _mountains,
    "forest": _forest,
    "autumn forest": _autumn_forest,
    "desert": _desert,
    "snow": _snow,
    "lake": _lake,
    "city": _city,
    "road": _road,
    "waterfall": _waterfall,
}
"""Who paints which landscape."""
