"""Trains the built-in model from scratch: ``python -m clipsearch.builtin.train --help``.

Runs on a CPU or on CUDA, saves its whole state every few minutes and continues from it
with ``--resume``. The same seed and data give the same batches in the same order.
"""

from __future__ import annotations

import copy
import math
import tempfile
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.multiprocessing
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn
from torch import distributed as dist

from clipsearch.builtin import export
from clipsearch.builtin.augment import Strength, augment, normalise
from clipsearch.builtin.batches import Sampler
from clipsearch.builtin.captions import concepts
from clipsearch.builtin.classes import DATASETS
from clipsearch.builtin.config import open_clip_config
from clipsearch.builtin.dataset import SIDE, data_list, load_photos, load_renders
from clipsearch.builtin.metrics import class_vectors, recall_at_1, zero_shot
from clipsearch.builtin.muon import Muon
from clipsearch.builtin.objective import (
    ConceptMemory,
    ImageMemory,
    Pairs,
    encode_images,
    encode_texts,
    label_aware_info_nce,
    sigmoid_loss,
)
from clipsearch.builtin.options import Options, options_from
from clipsearch.builtin.scenes import gallery
from clipsearch.builtin.tokenizer import caption_corpus, train_tokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from open_clip import CLIP
    from tokenizers import Tokenizer

    from clipsearch.builtin.dataset import Photos
    from clipsearch.builtin.metrics import Floats

CURVE_HEADER = (
    "step\tseconds\tcontrastive\tsigmoid\tclassifier\tpace\timages_per_s"
    "\ttop1\ttop5\tp_at_10\trender_recall_1\n"
)


INSIDE = ("visual.trunk.stages.", "visual.trunk.conv_head.", "transformer.")
LEAST_INPUTS = 64
"""Muon is for layers that mix many channels: stems and depthwise convolutions stay with AdamW."""


class Helpers(nn.Module):
    """What only training needs: a classifier on the trunk, and the bias of the sigmoid loss."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(width, classes)
        self.bias = nn.Parameter(torch.tensor(-10.0))  # SigLIP's: most pairs are false


class Run:
    """One training run: the model, its average, the optimizer and the draws."""

    def __init__(self, options: Options, rank: int = 0) -> None:
        """Build everything from the seed, or read it from the checkpoint.

        Workers build the same model; each draws its own share of the batches.
        """
        import open_clip

        self.options = options
        self.rank = rank
        torch.manual_seed(options.seed)
        draws = options.seed * options.workers + rank
        options.out.mkdir(parents=True, exist_ok=True)
        options.cache.mkdir(parents=True, exist_ok=True)
        self.photos = [load_photos(options.data, name, options.cache) for name in DATASETS]
        self.sampler = Sampler(
            self.photos,
            load_renders(options.renders, options.cache),
            options.batch // options.workers,
            options.extra,
            draws,
            painted=options.painted,
        )
        self.tokenizer: Tokenizer = train_tokenizer(caption_corpus())
        self.config = open_clip_config(self.tokenizer.get_vocab_size(), options.sides[-1][0])
        self.model: CLIP = open_clip.CLIP(**self.config["model_cfg"]).to(options.device)
        self.model.visual.to(memory_format=torch.channels_last)
        self.helpers = Helpers(self.model.visual.trunk.get_classifier().in_features, self.sampler.classes).to(
            options.device
        )
        self.average: CLIP = copy.deepcopy(self.model).eval().requires_grad_(requires_grad=False)
        self.optimizers = _optimizers(self.model, self.helpers, options)
        dim: int = self.config["model_cfg"]["embed_dim"]
        self.concept_memory = ConceptMemory(len(concepts()), dim, options.device)
        self.image_memory = ImageMemory(options.queue, dim, len(concepts()), options.device)
        self.random = torch.Generator().manual_seed(draws)
        self.step = 0
        self.seconds = 0.0
        self._encoded: dict[str, list[int]] = {}
        if options.resume:
            self.load()

    @property
    def checkpoint(self) -> Path:
        """Where the whole state is kept."""
        return self.options.out / "checkpoint.pt"

    def save(self) -> None:
        """Write the whole state; a kill while writing leaves the previous one.

        All workers take part: their draws are part of the state.
        """
        memories = self.concept_memory.rows, self.image_memory.state()
        draws: list[Any] = [(self.sampler.state(), self.random.get_state(), memories)]
        if self.options.workers > 1:
            own, draws = draws[0], [None] * self.options.workers
            dist.all_gather_object(draws, own)
        if self.rank:
            return
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "helpers": self.helpers.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "draws": draws,
            "step": self.step,
            "seconds": self.seconds,
        }
        unfinished = self.checkpoint.with_suffix(".part")
        torch.save(state, unfinished)
        unfinished.replace(self.checkpoint)

    def load(self) -> None:
        """Continue exactly where the checkpoint was written."""
        state: dict[str, Any] = torch.load(
            self.checkpoint, map_location=self.options.device, weights_only=True
        )
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.helpers.load_state_dict(state["helpers"])
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        sampled, drawn, (self.concept_memory.rows, older) = state["draws"][self.rank]
        self.image_memory.restore(older)
        self.sampler.restore(sampled)
        self.random.set_state(drawn.cpu())
        self.step, self.seconds = state["step"], state["seconds"]

    def tokens(self, texts: Sequence[str]) -> Tensor:
        """Return int64 (n, context length) token ids."""
        for text in texts:
            if text not in self._encoded:
                self._encoded[text] = self.tokenizer.encode(text).ids
        return torch.tensor([self._encoded[text] for text in texts], device=self.options.device)

    def pace(self) -> float:
        """Return this step's share of the full rates: linear warm-up, then a cosine to a hundredth."""
        options = self.options
        if self.step < options.warmup:
            return (self.step + 1) / options.warmup
        done = (self.step - options.warmup) / max(1, options.steps - options.warmup)
        return 0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2

    def side(self) -> int:
        """Return the side in pixels that this step trains at."""
        done = min(self.step, self.options.steps - 1) / self.options.steps
        return next(side for side, share in self.options.sides if done < share)

    def train_step(self) -> tuple[float, float, float]:
        """Train on one batch; return the contrastive, the sigmoid and the classifier's loss."""
        options = self.options
        batch = self.sampler.draw()
        images = augment(
            batch.pixels.to(options.device), batch.is_photo, self.side(), self.random, Strength()
        ).contiguous(memory_format=torch.channels_last)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["full_lr"] * self.pace()
        with torch.autocast(options.device, torch.bfloat16, enabled=options.precision == "bf16"):
            pictures, features = encode_images(self.model, images)
            words = encode_texts(self.model, self.tokens(batch.texts))
            known = batch.classes >= 0
            guesses = self.helpers.classifier(features[known.to(options.device)])
        logits = self.model.logit_scale.exp() * pictures.float() @ words.float().T
        truth, named = batch.truth.to(options.device), batch.concepts.to(options.device)
        scale = self.model.logit_scale.exp()
        concept_truth = batch.concept_truth.to(options.device)
        others = self.concept_memory.others(named)
        texts = Pairs(scale * pictures.float() @ self.concept_memory.rows[others].T, concept_truth[:, others])
        older = Pairs(scale * self.image_memory.rows @ words.float().T, self.image_memory.truth_of(named))
        contrastive = label_aware_info_nce(logits, truth, texts=texts, images=older, rarity=options.rarity)
        judged = sigmoid_loss(
            torch.cat((logits, texts.logits), 1) + self.helpers.bias, torch.cat((truth, texts.truth), 1)
        )
        classes = batch.classes[known].to(options.device)
        classified = F.cross_entropy(guesses.float(), classes, label_smoothing=0.1)
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss = contrastive + options.sigmoid * judged + options.classifier * classified
        loss.backward()  # type: ignore[no-untyped-call]
        self.concept_memory.remember(named, words)
        self.image_memory.remember(pictures, concept_truth)
        self._share_gradients()
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        for optimizer in self.optimizers:
            optimizer.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, math.log(100))
        self.step += 1
        self._update_average()
        return float(contrastive.detach()), float(judged.detach()), float(classified.detach())

    def _share_gradients(self) -> None:
        if self.options.workers == 1:
            return
        gradients = [
            parameter.grad
            for parameter in (*self.model.parameters(), *self.helpers.parameters())
            if parameter.grad is not None
        ]
        together = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(together)
        together /= self.options.workers
        at = 0
        for gradient in gradients:
            gradient.copy_(together[at : at + gradient.numel()].view_as(gradient))
            at += gradient.numel()

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.options.ema, (1 + self.step) / (10 + self.step))
        for kept, current in zip(
            self.average.state_dict().values(), self.model.state_dict().values(), strict=True
        ):
            if kept.is_floating_point():
                kept.lerp_(current, 1 - decay)
            else:
                kept.copy_(current)

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Floats:
        """Embed texts with the averaged weights."""
        return encode_texts(self.average, self.tokens(texts)).float().cpu().numpy()

    @torch.no_grad()
    def embed_pixels(self, pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> Floats:
        """Embed uint8 (n, SIDE, SIDE, 3) with the averaged weights, at the side now trained."""
        rows = []
        for start in range(0, len(pixels), 250):
            part = torch.from_numpy(np.ascontiguousarray(pixels[start : start + 250]))
            images = normalise(part.to(self.options.device).permute(0, 3, 1, 2))
            if self.side() != SIDE:
                images = F.interpolate(images, size=(self.side(),) * 2, mode="bicubic", antialias=True)
            rows.append(encode_images(self.average, images)[0].float().cpu().numpy())
        return np.concatenate(rows)

    def validate(self, most: int = 2000) -> str:
        """Return top-1, top-5, precision@10 on tiny200 and recall@1 of new renders, as TSV."""
        tiny: Photos = self.photos[0]
        held = np.flatnonzero(tiny.validation)[:most]
        vectors = self.embed_pixels(tiny.pixels[held])
        score = zero_shot(vectors, tiny.labels[held], class_vectors(tiny, self.embed_texts))
        scenes = gallery(100, 500_000, SIDE)
        pictures = self.embed_pixels(np.stack([np.asarray(scene.image) for scene in scenes]))
        recall = recall_at_1(self.embed_texts([scene.caption for scene in scenes]), pictures)
        return f"{score.top1:.4f}\t{score.top5:.4f}\t{score.precision_at_10:.4f}\t{recall:.3f}"


def _optimizers(model: nn.Module, helpers: nn.Module, options: Options) -> list[torch.optim.Optimizer]:
    """Muon for the layers inside both towers, AdamW for their ends, and what is no matrix."""
    inside, ends, others = [], [], []
    for name, parameter in (*model.named_parameters(), *helpers.named_parameters()):
        if parameter.ndim <= 1 or "embedding" in name:
            others.append(parameter)
        elif name.startswith(INSIDE) and parameter[0].numel() >= LEAST_INPUTS:
            inside.append(parameter)
        else:
            ends.append(parameter)
    adam = torch.optim.AdamW(
        [
            {"params": ends, "weight_decay": options.decay, "full_lr": options.lr},
            {"params": others, "weight_decay": 0.0, "full_lr": options.lr},
        ],
        fused=True,
    )
    muon = Muon([{"params": inside, "full_lr": options.muon_lr}], options.muon_lr, options.decay)
    return [adam, muon]


def train(options: Options, rank: int = 0) -> None:
    """Train to the last step, logging to OUT/curve.tsv, then write the model to OUT/model."""
    if options.threads:
        torch.set_num_threads(options.threads)
    run = Run(options, rank)
    curve = options.out / "curve.tsv"
    if rank == 0:
        listed = data_list(options.data, options.renders)
        (options.out / "data.tsv").write_text(listed, encoding="utf-8")
        if not (options.resume and curve.exists()):
            curve.write_text(CURVE_HEADER, encoding="utf-8")
    mark, first = time.monotonic(), run.step
    sums = np.zeros(3)
    while run.step < options.until:
        run.model.train()
        sums += run.train_step()
        validating = run.step % options.validate_every == 0 or run.step == options.until
        if rank == 0 and (run.step % options.log_every == 0 or validating):
            now = time.monotonic()
            run.seconds += now - mark
            since, passed = run.step - first, now - mark
            line = _log_line(run, sums / since, since * options.batch / passed)
            scores = run.validate() if validating else "\t\t\t"
            with curve.open("a", encoding="utf-8") as out:
                out.write(f"{line}\t{scores}\n")
            left = (options.until - run.step) * passed / since
            print(f"{line}\t{scores}\t{left / 60:.0f} min left", flush=True)  # noqa: T201 - progress
            sums[:] = 0
            mark, first = time.monotonic(), run.step
        if run.step % options.save_every == 0 or run.step == options.until:
            run.save()
    if rank == 0:
        export.write_model(options.out / "model", run.average, run.tokenizer, run.config)


def _log_line(run: Run, losses: np.ndarray[Any, np.dtype[np.float64]], speed: float) -> str:
    told = "\t".join(f"{loss:.4f}" for loss in losses)
    return f"{run.step}\t{run.seconds:.0f}\t{told}\t{run.pace():.4f}\t{speed:.0f}"


def _worker(rank: int, options: Options, meeting: str) -> None:
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=options.workers)
    train(options, rank)
    dist.destroy_process_group()


def main() -> None:
    """Train with one process, or with several that share each batch."""
    options = options_from()
    if options.workers == 1:
        train(options)
        return
    with tempfile.TemporaryDirectory() as folder:
        meeting = f"file://{folder}/meeting"
        # torch publishes no types for it
        torch.multiprocessing.spawn(  # type: ignore[attr-defined, no-untyped-call]
            _worker, (options, meeting), nprocs=options.workers
        )


if __name__ == "__main__":
    main()
