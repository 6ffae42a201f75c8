"""Image towers as modules that can be exported: bytes in, unit rows out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch.nn import functional

from clipsearch.encoders.attention import first_attends, self_attention

if TYPE_CHECKING:
    from clipsearch.types import Preprocessing


def features(visual: Any, pixels: Any) -> Any:
    """The image tower's embedding. CoCa's tower also returns its tokens."""
    found = visual(pixels)
    return found[0] if isinstance(found, tuple) else found


def exportable(visual: Any, preprocessing: Preprocessing) -> torch.nn.Module:
    """A module from `(n, height, width, 3)` bytes to `(n, dim)` unit rows."""
    kind = ClassTokenTransformer if ClassTokenTransformer.fits(visual) else AnyTower
    return kind(visual, preprocessing).eval().requires_grad_(requires_grad=False)


def normalization(preprocessing: Preprocessing) -> tuple[torch.Tensor, torch.Tensor]:
    """Factor and offset of each channel, from bytes to the model's input."""
    mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
    return 1 / (255 * std), -mean / std


class AnyTower(torch.nn.Module):
    """A tower as it is, with the normalization of its input before it."""

    def __init__(self, visual: Any, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.visual = visual
        scale, offset = normalization(preprocessing)
        self.scale = torch.nn.Parameter(scale.view(1, 3, 1, 1))
        self.offset = torch.nn.Parameter(offset.view(1, 3, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """See `exportable`."""
        pixels = images.permute(0, 3, 1, 2).float() * self.scale + self.offset
        return functional.normalize(features(self.visual, pixels), dim=-1)


class ClassTokenTransformer(torch.nn.Module):
    """OpenCLIP's `VisionTransformer` pooled at its class token, computing only what that token needs.

    The same function with less work. In the last block all other tokens are keys and values and nothing
    more: its queries, projection and MLP are computed for one token of 65 (ViT-B/32-256: 7 % fewer
    operations). Query, key and value come from one product, and normalization is part of the weights of
    the patch embedding.
    """

    def __init__(self, visual: Any, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.visual = visual
        scale, offset = normalization(preprocessing)
        weight = visual.conv1.weight
        patches = (weight * scale.view(1, 3, 1, 1)).permute(2, 3, 1, 0).reshape(-1, weight.shape[0])
        self.patch_weight = torch.nn.Parameter(patches.contiguous())
        self.patch_bias = torch.nn.Parameter(weight.sum((2, 3)) @ offset)

    @staticmethod
    def fits(visual: Any) -> bool:
        """Whether a tower is of this kind."""
        return (
            type(visual) is VisionTransformer
            and visual.attn_pool is None
            and visual.pool_type == "tok"
            and visual.transformer.batch_first
            and all(type(block) is ResidualAttentionBlock for block in visual.transformer.resblocks)
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """See `exportable`."""
        visual = self.visual
        *blocks, last = visual.transformer.resblocks
        tokens = visual.ln_pre(self._embedded(images))
        for block in blocks:
            tokens = tokens + block.ls_1(self_attention(block.attn, block.ln_1(tokens)))
            tokens = tokens + block.ls_2(block.mlp(block.ln_2(tokens)))
        pooled = tokens[:, 0] + last.ls_1(first_attends(last.attn, last.ln_1(tokens)))
        pooled = pooled + last.ls_2(last.mlp(last.ln_2(pooled)))
        pooled = visual.ln_post(pooled)
        return functional.normalize(pooled if visual.proj is None else pooled @ visual.proj, dim=-1)

    def _embedded(self, images: torch.Tensor) -> torch.Tensor:
        """`(n, 1 + patches, width)` tokens."""
        visual = self.visual
        count, (rows, columns), (height, width) = images.shape[0], visual.grid_size, visual.patch_size
        cut = images.reshape(count, rows, height, columns, width, 3).permute(0, 1, 3, 2, 4, 5)
        patches = cut.reshape(count, rows * columns, height * width * 3).float() @ self.patch_weight
        patches = patches + self.patch_bias
        token = visual.class_embedding.expand(count, 1, -1)
        tokens: torch.Tensor = torch.cat([token, patches], dim=1) + visual.positional_embedding
        return tokens
