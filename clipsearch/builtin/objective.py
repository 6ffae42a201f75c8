"""The training losses, and the two towers as training runs them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

if TYPE_CHECKING:
    from open_clip import CLIP


class Pairs(NamedTuple):
    """Every image with every text: float logits and int8 truth (1, 0, -1 unknown), (images, texts)."""

    logits: Tensor
    truth: Tensor


def label_aware_info_nce(
    logits: Tensor,
    truth: Tensor,
    *,
    texts: Pairs | None = None,
    images: Pairs | None = None,
    rarity: float = 1.0,
) -> Tensor:
    """Return the mean of image-to-text and text-to-image InfoNCE with several true pairs.

    `logits` is float (images, texts) and `truth` int8 of the same shape: 1 true, 0 false,
    -1 unknown. For each true pair the alternatives are the false pairs of its row (or
    column) alone: other true captions are no negatives, and unknown ones take no part.
    With exactly one true pair per row and column this is CLIP's loss (Radford et al.,
    2021); the treatment of several follows SupCon's outer sum (Khosla et al., 2020),
    with a pair's share falling with a power (`rarity`) of how many pictures its caption is
    true of, so that "a tabby cat" counts for more than "an animal".

    Remembered embeddings, which no gradient reaches, widen the choice: `texts` are pairs
    (images, further texts) for the images alone, `images` pairs (further images, texts) for
    the texts alone.
    """
    rows, columns = Pairs(logits, truth), Pairs(logits, truth)
    if texts is not None:
        rows = Pairs(torch.cat((logits, texts.logits), 1), torch.cat((truth, texts.truth), 1))
    if images is not None:
        columns = Pairs(torch.cat((logits, images.logits)), torch.cat((truth, images.truth)))
    return (_one_way(*rows, rarity) + _one_way(columns.logits.T, columns.truth.T, rarity)) / 2


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


class ImageMemory:
    """The latest images' embeddings, as further alternatives for texts.

    A batch holds few pictures of any one class; against some thousand more, a text learns to
    put its own before all others, which is what a search asks of it (cf. MoCo, He et al., 2020).
    """

    def __init__(self, size: int, dim: int, concepts: int, device: str) -> None:
        self.rows = torch.zeros(size, dim, device=device)
        self.truth = torch.full((size, concepts), -1, dtype=torch.int8, device=device)
        self._next = 0

    def truth_of(self, named: Tensor) -> Tensor:
        """Return int8 (size, texts): whether a text that names a concept (-1: none) is true of each."""
        return self.truth[:, named].masked_fill(named < 0, -1)

    def remember(self, pictures: Tensor, concept_truth: Tensor) -> None:
        """Put (n, dim) new embeddings in the place of the oldest."""
        if not len(self.rows):
            return
        places = (torch.arange(len(pictures), device=self.rows.device) + self._next) % len(self.rows)
        self.rows[places] = pictures.detach().float()
        self.truth[places] = concept_truth
        self._next = int(places[-1] + 1) % len(self.rows)

    def state(self) -> tuple[Tensor, Tensor, int]:
        """Return what `restore` needs."""
        return self.rows, self.truth, self._next

    def restore(self, state: tuple[Tensor, Tensor, int]) -> None:
        """Continue from a saved state; a memory of another size stays empty and fills anew."""
        if len(state[0]) == len(self.rows):
            self.rows, self.truth, self._next = state


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
