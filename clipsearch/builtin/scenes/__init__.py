"""Rendered pictures with exact captions: for training, for tests and for the demo.

Only Pillow is needed. A seed always gives the same picture and the same words.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from clipsearch.builtin.scenes.canvas import Canvas
from clipsearch.builtin.scenes.figures import (
    Painted,
    paint_count,
    paint_position,
    paint_shape,
    paint_texture,
)
from clipsearch.builtin.scenes.landscapes import paint_landscape

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL import Image

    from clipsearch.builtin.captions import Caption

KINDS: Final[dict[str, tuple[Callable[[Canvas, random.Random], Painted], float]]] = {
    "landscape": (paint_landscape, 0.5),
    "shape": (paint_shape, 0.14),
    "count": (paint_count, 0.12),
    "position": (paint_position, 0.14),
    "texture": (paint_texture, 0.1),
}
"""The kinds of pictures: who paints them, and the share of seeds that get them."""


@dataclass(frozen=True)
class Scene:
    """A rendered picture and what is true of it."""

    seed: int
    kind: str
    image: Image.Image
    caption: str
    """The exact caption: it says everything that was decided on purpose."""
    captions: tuple[str, ...]
    """Paraphrases and shorter true descriptions, the exact one first."""
    telling: tuple[Caption, ...]
    """The same captions with the facts that each of them claims."""
    facts: frozenset[str]
    """Everything true of the picture, in the vocabulary of the captions' claims."""


def render(seed: int, size: int | tuple[int, int] = 256, kind: str | None = None) -> Scene:
    """Render the picture of a seed.

    `size` is the side in pixels, or (width, height); `kind` one of :data:`KINDS`, or
    None to let the seed choose. The same arguments always give the same scene.
    """
    width, height = (size, size) if isinstance(size, int) else size
    rng = random.Random(seed)  # noqa: S311 - pictures, not secrets
    drawn = rng.choices(list(KINDS), weights=[share for _, share in KINDS.values()])[0]
    chosen = drawn if kind is None else kind
    canvas = Canvas(width, height)
    painted = KINDS[chosen][0](canvas, rng)
    return Scene(
        seed=seed,
        kind=painted.kind,
        image=canvas.finish(),
        caption=painted.captions[0].text,
        captions=tuple(caption.text for caption in painted.captions),
        telling=painted.captions,
        facts=painted.facts,
    )


def gallery(
    count: int,
    seed: int = 0,
    size: int | tuple[int, int] = (512, 384),
    kind: str | None = None,
) -> list[Scene]:
    """Render `count` scenes whose exact captions all differ, beginning at a seed.

    Seeds whose caption was already used are passed over.
    """
    scenes: list[Scene] = []
    told: set[str] = set()
    while len(scenes) < count:
        scene = render(seed, size, kind)
        seed += 1
        if scene.caption not in told:
            told.add(scene.caption)
            scenes.append(scene)
    return scenes
