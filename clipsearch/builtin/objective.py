"""The training losses, and the two towers as training runs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

if TYPE_CHECKING:
    from open_clip import CLIP


def label_aware_info_nce(
    logits: Tensor,
    truth: Tensor,
    more_logits: Tensor | None = None,
    more_truth: Tensor | None = None,
    *,
    rarity: float = 0.5,
) -> Tensor:
    """Return the mean of image-to-text and text-to-image InfoNCE with several true pairs.

    `logits` is float (images, texts) and `truth` int8 of the same shape: 1 true, 0 false,
    -1 unknown. For each true pair the alternatives are the false pairs of its row (or
    column) alone: other true captions are no negatives, and unknown ones take no part.
    With exactly one true pair per row and column this is CLIP's loss (Radford et al.,
    2021); the treatment of several follows SupCon's outer sum (Khosla et al., 2020),
    with a pair's share falling with a power (`rarity`) of how many pictures its caption is
    true of, so that "a tabby cat" counts for more than "an animal".

    `more_logits` and `more_truth` (images, further texts) are alternatives and true pairs
    for the images only: remembered texts, which no gradient reaches.
    """
    from_texts = _one_way(logits.T, truth.T, rarity)
    if more_logits is not None and more_truth is not None:
        logits, truth = torch.cat((logits, more_logits), 1), torch.cat((truth, more_truth), 1)
    return (_one_way(logits, truth, rarity) + from_texts) / 2


def sigmoid_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Return SigLIP's pairwise loss (Zhai et al., 2023), summed over texts, averaged over images.

    `logits` is float (images, texts) with the learned bias added; `truth` is int8: 1 true,
    0 false, -1 left out. It judges every pair alone, so a score means the same for every
    picture: what InfoNCE, which only compares the texts of one picture, does not teach,
    and what ranking pictures for one text needs.
    """
    signs = truth.float() * 2 - 1
    losses = F.softplus(-signs * logits).masked_fill(truth < 0, 0)
    return losses.sum(1).mean()


class ConceptMemory:
    """The latest embedding of every concept's words, as further alternatives for images.

    With it each image is told apart from all concepts in every step, though the text
    tower encodes only the batch's own (cf. cross-batch memory, Wang et al., 2020).
    """

    def __init__(self, concepts: int, dim: int, device: str) -> None:
        self.rows = torch.zeros(concepts, dim, device=device)

    def others(self, named: Tensor) -> Tensor:
        """Return the indices of remembered concepts that are not among the named ones."""
        known = self.rows.any(1)
        known[named[named >= 0]] = False
        return known.nonzero().squeeze(1)

    @torch.no_grad()
    def remember(self, named: Tensor, words: Tensor) -> None:
        """Average the new embeddings of named concepts (-1: none) into the remembered ones."""
        told = named >= 0
        index, new = named[told], words[told].detach().float()
        self.rows[index] = F.normalize(self.rows[index] + new, dim=-1)


def _one_way(logits: Tensor, truth: Tensor, rarity: float) -> Tensor:
    right = truth == 1
    wrong = logits.masked_fill(truth != 0, -torch.inf).logsumexp(1, keepdim=True)
    # log(1 + exp(wrong - logit)) is the cross-entropy of one true pair against all false ones.
    losses = F.softplus(wrong - logits)
    shares = right * right.sum(0, keepdim=True).clamp(min=1).float().pow(-rarity)
    shares = shares / shares.sum(1, keepdim=True).clamp(min=1e-6)
    rows = right.any(1)
    return (losses * shares).sum(1)[rows].mean()


def encode_images(model: CLIP, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return unit embeddings (n, dim) and the trunk's pooled features (n, width)."""
    trunk = model.visual.trunk
    features = trunk.forward_head(trunk.forward_features(images), pre_logits=True)
    return F.normalize(trunk.get_classifier()(features), dim=-1), features


def encode_texts(model: CLIP, ids: Tensor) -> Tensor:
    """Return unit embeddings (n, dim) of token ids (n, length).

    The same as the model's own `encode_text`, at half its cost: sorted by length, the
    texts go through in four parts, each cut to its own length. Attention is causal, so
    what follows the end token never reaches it.
    """
    lengths = (ids != 0).sum(1)
    order = lengths.argsort()
    ends = [
        _encode_cut(model, ids[part, : int(lengths[part].max())])
        for part in order.tensor_split(4)
        if len(part)
    ]
    return torch.cat(ends)[order.argsort()]


def _encode_cut(model: CLIP, ids: Tensor) -> Tensor:
    length = ids.shape[1]
    states = model.token_embedding(ids) + model.positional_embedding[:length]
    states = model.transformer(states, attn_mask=model.attn_mask[:length, :length])
    ends = model.ln_final(states[torch.arange(len(ids), device=ids.device), ids.argmax(1)])
    return F.normalize(ends @ model.text_projection, dim=-1)
