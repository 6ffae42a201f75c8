"""Any mode that Pillow decodes into → 8-bit RGB.

Colour profiles are not applied, as in the pipelines that the models are trained with.
"""

from __future__ import annotations

import functools
from typing import cast

import numpy as np
from PIL import Image

# Highest value of the bit depths that are stored in wider pixels: 8, 12 (medical, scientific) and 16 bits.
_FULL_SCALES = (255, 4095, 65535)


def to_rgb(image: Image.Image) -> Image.Image:
    """A loaded picture of any mode as RGB: transparency over white, deep greyscale scaled to 8 bits.

    16-bit greyscale is taken as 8, 12 or 16 bits deep, whichever holds its brightest pixel; values out of all
    of these (negative, 32 bits, floating point beyond 0-1) are stretched from darkest to brightest.
    """
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode.startswith(("I", "F")):
        return _deep_grey(image).convert("RGB")
    if image.has_transparency_data or image.mode in ("La", "RGBa"):
        straight = image.convert("LA") if image.mode == "La" else image
        rgba = straight if straight.mode == "RGBA" else straight.convert("RGBA")
        over_white = Image.new("RGB", image.size, "white")
        over_white.paste(rgba, mask=rgba)
        return over_white
    return image.convert("RGB")


def _deep_grey(image: Image.Image) -> Image.Image:
    if image.mode != "F":
        image = image if image.mode == "I" else image.convert("I")
        low, high = cast("tuple[int, int]", image.getextrema())
        if low >= 0 and high <= _FULL_SCALES[-1]:
            return image.point(_to_8_bits(next(full for full in _FULL_SCALES if high <= full)), "L")
    values = np.array(image, dtype=np.float32)
    np.nan_to_num(values, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    dark, bright = float(values.min()), float(values.max())
    if dark >= 0 and bright <= _FULL_SCALES[-1]:
        dark, bright = 0.0, float(next(full for full in (1, *_FULL_SCALES) if bright <= full))
    values -= np.float32(dark)
    values *= np.float32(255 / max(bright - dark, 1e-30))
    return Image.fromarray(np.clip(np.rint(values, out=values), 0, 255, out=values).astype(np.uint8))


@functools.cache
def _to_8_bits(full_scale: int) -> list[int]:
    return [min(255, round(value * 255 / full_scale)) for value in range(_FULL_SCALES[-1] + 1)]
