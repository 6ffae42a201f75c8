"""Any mode that Pillow decodes into → 8-bit RGB.

Colour profiles are not applied, as in the pipelines that the models are trained with.
"""

from __future__ import annotations

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
    values = np.asarray(image)
    if not np.issubdtype(values.dtype, np.integer):
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    scale: float
    if low >= 0 and high <= 1 and not np.issubdtype(values.dtype, np.integer):
        low, scale = 0.0, 1.0
    elif low >= 0 and high <= _FULL_SCALES[-1]:
        low, scale = 0.0, float(next(full for full in _FULL_SCALES if high <= full))
    else:
        scale = max(high - low, 1e-30)
    grey = (values.astype(np.float32) - np.float32(low)) * np.float32(255.0 / scale)
    return Image.fromarray(np.clip(np.rint(grey), 0, 255).astype(np.uint8))
