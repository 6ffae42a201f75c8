"""Bringing a picture to a model's input size, pixel for pixel as OpenCLIP does at inference.

The rules and their rounding are those of `open_clip.transform.image_transform` and of torchvision's `Resize`
and `CenterCrop` on Pillow images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clipsearch.types import Preprocessing

    Box = tuple[float, float, float, float]

# OpenCLIP resizes the whole picture and then crops: 10 x 100,000 pixels would grow to 224 x 2,240,000. When
# the whole would have more pixels than this (64 MB), only the part that stays is resized. Not always, though
# it is less work: Pillow picks the order of its two passes by their size, and the other order rounds
# differently, by up to 18 levels at sharp edges. A picture that the decoder has reduced is off by as much
# anyway, and there it saves a quarter of the work.
_MOST_RESIZED = 16_000_000


@dataclass(frozen=True, slots=True)
class Framing:
    """How one picture goes into the input. Pixels; left before top, width before height.

    Attributes:
        resized: Size of the whole picture, scaled.
        corner: Of the part of it that is kept.
        kept: Size of that part; smaller than the input where it is padded.
        offset: Where that part lies in the input.
    """

    resized: tuple[int, int]
    corner: tuple[int, int]
    kept: tuple[int, int]
    offset: tuple[int, int]


def framing(width: int, height: int, preprocessing: Preprocessing) -> Framing:
    """Lay out an upright picture of `width` x `height` pixels."""
    to_height, to_width = preprocessing.size
    if preprocessing.resize_mode == "squash":
        resized = (to_width, to_height)
    elif preprocessing.resize_mode == "longest":
        resized = _scaled(width, height, max(height / to_height, width / to_width))
    elif to_height != to_width:
        resized = _scaled(width, height, min(height / to_height, width / to_width))
    elif width <= height:
        resized = (to_width, int(to_width * height / width))
    else:
        resized = (int(to_height * width / height), to_height)
    kept = (min(resized[0], to_width), min(resized[1], to_height))
    # round() to even on halves, as torchvision crops; floor, as it pads
    corner = (round((resized[0] - kept[0]) / 2), round((resized[1] - kept[1]) / 2))
    offset = ((to_width - kept[0]) // 2, (to_height - kept[1]) // 2)
    return Framing(resized, corner, kept, offset)


def frame(
    image: Image.Image, extent: Box, plan: Framing, preprocessing: Preprocessing, *, reduced: bool = False
) -> NDArray[np.uint8]:
    """Resize, crop and pad an upright RGB picture.

    Args:
        image: The picture.
        extent: The part of `image` that is the picture: left, top, right, bottom, in fractions of its pixels.
        plan: From `framing`.
        preprocessing: What the plan was made with.
        reduced: Whether `image` is smaller than the one the plan was made for, decoded at reduced size.

    Returns:
        `(height, width, 3)` uint8.
    """
    height, width = preprocessing.size
    # OpenCLIP passes its interpolation on to every resize but the one for an oblong input.
    bilinear = preprocessing.interpolation == "bilinear" and (
        preprocessing.resize_mode != "shortest" or height == width
    )
    resample = Image.Resampling.BILINEAR if bilinear else Image.Resampling.BICUBIC
    if reduced or plan.resized[0] * plan.resized[1] > _MOST_RESIZED:
        part = image.resize(plan.kept, resample, box=_cut(extent, plan))
    else:
        left, top = plan.corner
        right, bottom = left + plan.kept[0], top + plan.kept[1]
        part = image.resize(plan.resized, resample, box=extent).crop((left, top, right, bottom))
    if plan.kept != (width, height):
        padded = Image.new("RGB", (width, height), (preprocessing.fill_color,) * 3)
        padded.paste(part, plan.offset)
        part = padded
    return np.array(part, dtype=np.uint8)


def _cut(extent: Box, plan: Framing) -> Box:
    x_scale = (extent[2] - extent[0]) / plan.resized[0]
    y_scale = (extent[3] - extent[1]) / plan.resized[1]
    left, top = extent[0] + plan.corner[0] * x_scale, extent[1] + plan.corner[1] * y_scale
    right, bottom = left + plan.kept[0] * x_scale, top + plan.kept[1] * y_scale
    return left, top, min(right, extent[2]), min(bottom, extent[3])


def _scaled(width: int, height: int, ratio: float) -> tuple[int, int]:
    return max(1, round(width / ratio)), max(1, round(height / ratio))
