"""Augmentation of whole batches: crop, flip, colour, blur and erasing in a few tensor operations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
STD: Final = (0.26862954, 0.26130258, 0.27577711)
"""Per channel, of CLIP's own training set (OpenAI, "Learning Transferable Visual Models", code)."""
HALF: Final = 0.5
"""Share of photos that are mirrored."""


@dataclass(frozen=True)
class Strength:
    """How far an augmentation may go; the defaults are those of the shipped model."""

    smallest_area: float = 0.5
    """Least share of a photo's area that a crop keeps."""
    colour: float = 0.2
    """Brightness, contrast and saturation are scaled by 1 - colour .. 1 + colour."""
    blur: float = 0.1
    """Share of batches that lose detail through a smaller size in between."""
    erase: float = 0.05
    """Share of photos in which a rectangle is blanked."""


def normalise(pixels: Tensor) -> Tensor:
    """Turn uint8 (n, 3, h, w) into the float32 that the image tower takes."""
    mean = torch.tensor(MEAN, device=pixels.device).view(1, 3, 1, 1)
    std = torch.tensor(STD, device=pixels.device).view(1, 3, 1, 1)
    return pixels.float().div_(255).sub_(mean).div_(std)


def augment(
    pixels: Tensor, is_photo: Tensor, side: int, random: torch.Generator, strength: Strength
) -> Tensor:
    """Augment a batch: uint8 (n, 3, h, w) in, normalised float32 (n, 3, side, side) out.

    Rendered pictures (`is_photo` false) keep their colours, their left and right and
    nearly all of their area, since their captions speak of them.
    """
    count = pixels.shape[0]
    draws = torch.rand((12, count), generator=random).to(pixels.device)
    photo = is_photo.to(pixels.device)
    grid = _crops(draws, photo, side, strength)
    images = F.grid_sample(
        pixels.float().div_(255), grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    amount = strength.colour * photo.float().view(-1, 1, 1, 1)
    brightness, contrast, saturation = (
        1 + amount * (2 * draws[row].view(-1, 1, 1, 1) - 1) for row in (5, 6, 7)
    )
    gray = images.mean(1, keepdim=True)
    images = torch.lerp(gray, images, saturation)
    level = images.mean((1, 2, 3), keepdim=True)
    images = torch.lerp(level, images, contrast).mul_(brightness).clamp_(0, 1)
    if float(torch.rand((), generator=random)) < strength.blur:
        smaller = F.interpolate(images, scale_factor=0.6, mode="bilinear", antialias=True)
        images = F.interpolate(smaller, size=(side, side), mode="bilinear")
    images = _erase(images, draws, photo, strength)
    mean = torch.tensor(MEAN, device=images.device).view(1, 3, 1, 1)
    std = torch.tensor(STD, device=images.device).view(1, 3, 1, 1)
    return images.sub_(mean).div_(std)


def _crops(draws: Tensor, photo: Tensor, side: int, strength: Strength) -> Tensor:
    smallest = torch.where(photo, strength.smallest_area, 0.9)
    area = smallest + (1 - smallest) * draws[0]
    stretch = torch.where(photo, (draws[1] - 0.5) * 0.6, (draws[1] - 0.5) * 0.1).exp()
    wide, high = (area * stretch).sqrt().clamp_(max=1), (area / stretch).sqrt().clamp_(max=1)
    left, top = (1 - wide) * (2 * draws[2] - 1), (1 - high) * (2 * draws[3] - 1)
    mirror = torch.where(photo & (draws[4] < HALF), -1.0, 1.0)
    steps = (torch.arange(side, device=draws.device, dtype=torch.float32) + 0.5) * 2 / side - 1
    x = steps.view(1, 1, side) * (wide * mirror).view(-1, 1, 1) + left.view(-1, 1, 1)
    y = steps.view(1, side, 1) * high.view(-1, 1, 1) + top.view(-1, 1, 1)
    return torch.stack((x.expand(-1, side, side), y.expand(-1, side, side)), -1)


def _erase(images: Tensor, draws: Tensor, photo: Tensor, strength: Strength) -> Tensor:
    side = images.shape[-1]
    chosen = photo & (draws[8] < strength.erase)
    half = side * (0.08 + 0.12 * draws[9])
    x, y = draws[10] * side, draws[11] * side
    steps = torch.arange(side, device=images.device)
    across = (steps.view(1, -1) - x.view(-1, 1)).abs() < half.view(-1, 1)
    down = (steps.view(1, -1) - y.view(-1, 1)).abs() < half.view(-1, 1)
    hole = across.view(-1, 1, 1, side) & down.view(-1, 1, side, 1) & chosen.view(-1, 1, 1, 1)
    return images.masked_fill(hole, 0.45)
