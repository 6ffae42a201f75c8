"""Captions by OpenCLIP's CoCa models. Importing this module takes seconds: it needs torch.

OpenCLIP's own `generate` needs classes that transformers 5 has removed
(https://github.com/huggingface/transformers/pull/41223), so the beam search is here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import open_clip
import torch

from clipsearch.encoders.openclip import choose_device, load
from clipsearch.encoders.vision import normalization
from clipsearch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from clipsearch.types import Listeners, ModelSource, Preprocessing

# As `open_clip.CoCa.generate` has them by default.
BEAMS, _LONGEST, _SHORTEST = 6, 30, 5  # tokens, with those of start and end
_CPU_BATCH, _GPU_BATCH = 8, 32  # pictures between two commits
_START, _END = 49406, 49407  # of CLIP's tokenizer


class CocaCaptioner:
    """Writes captions.

    Args:
        source: A CoCa model.
        listeners: For downloads.
        device: `auto`, `cuda`, `mps` or `cpu`.

    Attributes:
        name: Of the model.
        batch_size: Pictures at a time.
        preprocessing: How pictures are to be decoded.

    Raises:
        UsageError: The model writes no captions.
        ModelError: It cannot be had.
    """

    def __init__(self, source: ModelSource, listeners: Listeners, *, device: str = "auto") -> None:
        self._device = choose_device(device)
        loaded = load(source, listeners)
        text = loaded.checkpoint.config.get("text_cfg", {})
        if not isinstance(loaded.network, open_clip.CoCa) or "hf_model_name" in text:
            raise UsageError(
                f"{source} writes no captions",
                "name a CoCa model: --model coca_ViT-B-32/mscoco_finetuned_laion2b_s13b_b90k",
            )
        self.name = str(source)
        self.batch_size = _CPU_BATCH if self._device.type == "cpu" else _GPU_BATCH
        self.preprocessing: Preprocessing = loaded.model.preprocessing
        self._network = loaded.network.to(self._device)
        self._tokenizer = open_clip.SimpleTokenizer()
        scale, offset = normalization(self.preprocessing)
        self._scale, self._offset = (part.view(1, 3, 1, 1).to(self._device) for part in (scale, offset))

    def write(self, images: NDArray[np.uint8]) -> list[str]:
        """A caption for each picture.

        Args:
            images: `(n, height, width, 3)` RGB, as `clipsearch.photos.decode` makes them.
        """
        with torch.inference_mode():
            pixels = torch.from_numpy(images).to(self._device).permute(0, 3, 1, 2).float()
            seen = self._network(pixels.mul_(self._scale).add_(self._offset))
            pairs = zip(seen["image_features"], seen["image_embs"], strict=True)
            return [self._text(self._best(latent, tokens)[1]) for latent, tokens in pairs]

    def _best(self, latent: torch.Tensor, tokens: torch.Tensor) -> tuple[float, list[int]]:
        """The likeliest caption of one picture: beam search, sums of log-probabilities by length.

        Args:
            latent: Its embedding, `(dim,)`.
            tokens: What the decoder sees of it, `(queries, width)`.

        Returns:
            Mean log-probability of its tokens, that of the end included, and the tokens without it.
        """
        beams = torch.full((1, 1), _START, device=self._device)
        sums = torch.zeros(1, device=self._device)
        done: list[tuple[float, list[int]]] = []
        for length in range(1, min(_LONGEST, self._network.context_length)):
            said = self._network(
                None,
                beams,
                image_latent=latent.expand(len(beams), -1),
                image_embs=tokens.expand(len(beams), -1, -1),
                output_labels=False,
            )
            logits = said["logits"][:, -1].float()
            if length < _SHORTEST:
                logits[:, _END] = -torch.inf
            totals = sums[:, None] + torch.log_softmax(logits, dim=-1)
            best = totals.flatten().topk(2 * BEAMS)
            parents, words = best.indices // totals.shape[1], best.indices % totals.shape[1]
            ends = words == _END
            done += [
                (float(best.values[place]) / length, beams[parents[place], 1:].tolist())
                for place in torch.nonzero(ends[:BEAMS]).flatten().tolist()
            ]
            going = torch.nonzero(~ends).flatten()[:BEAMS]
            beams = torch.cat([beams[parents[going]], words[going, None]], dim=1)
            sums = best.values[going]
            # No longer one can be likelier by length: what is going on would have to be better already.
            if len(done) >= BEAMS and max(done)[0] >= float(sums.max()) / length:
                break
        else:
            done += zip((sums / (beams.shape[1] - 1)).tolist(), beams[:, 1:].tolist(), strict=True)
        return max(done)

    def _text(self, ids: Sequence[int]) -> str:
        return " ".join(self._tokenizer.decode(ids).split()).removesuffix(" .").strip()
