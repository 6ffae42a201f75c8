"""The attention of OpenCLIP's transformers in as few operations as they can be exported in.

The same function as `torch.nn.MultiheadAttention`, whose export moves all of queries, keys and values about
before they are used, and transposes keys in six operations.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from open_clip.transformer import ResidualAttentionBlock
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

_SHARED = 2  # dimensions of a mask that is the same for every text and head


def self_attention(attention: Any, tokens: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """What tokens get of each other.

    Args:
        attention: A `MultiheadAttention`, batch first.
        tokens: `(n, tokens, width)`.
        mask: `(tokens, tokens)`, added to the scores.
    """
    together = functional.linear(tokens, attention.in_proj_weight, attention.in_proj_bias)
    query, key, value = (_by_head(part, attention.num_heads) for part in _parts(together, 3))
    found = _attended(query, key, value, mask)
    projected: torch.Tensor = attention.out_proj(found.transpose(1, 2).flatten(2))
    return projected


def first_attends(attention: Any, tokens: torch.Tensor) -> torch.Tensor:
    """What the first token alone gets, `(n, width)`; else as `self_attention`."""
    width, heads = attention.embed_dim, attention.num_heads
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    query = functional.linear(tokens[:, 0], weight[:width], bias[:width])
    together = functional.linear(tokens, weight[width:], bias[width:])
    key, value = (_by_head(part, heads) for part in _parts(together, 2))
    found = _attended(query.reshape(tokens.shape[0], heads, 1, -1), key, value)
    projected: torch.Tensor = attention.out_proj(found.flatten(1))
    return projected


@contextmanager
def lean_attention(network: Any) -> Iterator[None]:
    """Meanwhile, OpenCLIP's own blocks in a network attend in this way, wherever they can."""
    blocks = [
        block
        for block in network.modules()
        if type(block) is ResidualAttentionBlock and block.attn.batch_first
    ]
    for block in blocks:
        block.attention = partial(_of_block, block)
    try:
        yield
    finally:
        for block in blocks:
            del block.attention


def _of_block(
    block: Any, q_x: torch.Tensor, k_x: Any = None, v_x: Any = None, attn_mask: torch.Tensor | None = None
) -> torch.Tensor:
    of_itself = k_x is None and v_x is None
    if of_itself and (attn_mask is None or attn_mask.ndim == _SHARED):
        return self_attention(block.attn, q_x, attn_mask)
    # Of other tokens; or with a mask for each text and head.
    found: torch.Tensor = ResidualAttentionBlock.attention(block, q_x, k_x, v_x, attn_mask)
    return found


def _parts(together: torch.Tensor, count: int) -> list[torch.Tensor]:
    # Not `chunk`, which is exported as a sequence of tensors.
    width = together.shape[-1] // count
    return [together[..., start : start + width] for start in range(0, count * width, width)]


def _by_head(tokens: torch.Tensor, heads: int) -> torch.Tensor:
    """`(n, heads, tokens, width of a head)` from `(n, tokens, width)`."""
    count, _, width = tokens.shape
    return tokens.reshape(count, -1, heads, width // heads).transpose(1, 2)


def _attended(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
    if mask is not None:
        scores = scores + mask
    found: torch.Tensor = scores.softmax(dim=-1) @ value
    return found
