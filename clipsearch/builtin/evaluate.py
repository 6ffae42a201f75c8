"""Measures the built-in model: ``python -m clipsearch.builtin.evaluate --help``.

Prints every figure beside its target and exits with 1 when one is missed.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from clipsearch.builtin import MODEL_DIR
from clipsearch.builtin.dataset import load_photos
from clipsearch.builtin.everyday import QUERIES, Photo, is_right, read_photos
from clipsearch.builtin.metrics import Floats, class_vectors, recall_at_1, zero_shot
from clipsearch.builtin.scenes import gallery

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

FIRST_SEED = 500_000
"""Seeds of the rendered pictures measured here; training uses a million and more."""
EVERYDAY_SHARE = 0.75
"""Share of the everyday queries that must find a right photo: "most", held to three in four."""


@dataclass(frozen=True)
class Figure:
    """One measured number; `least` is the target, or None where there is none."""

    name: str
    value: float
    least: float | None = None
    most: float | None = None

    @property
    def met(self) -> bool:
        """Whether the number is within its target."""
        above = self.least is None or self.value >= self.least
        return above and (self.most is None or self.value <= self.most)


@dataclass(frozen=True)
class Answer:
    """What came first for an everyday query."""

    query: str
    first: tuple[tuple[Photo, bool], ...]
    """The five best photos, each with whether it is a right answer."""

    @property
    def hit(self) -> bool:
        """Whether a right photo is among the first five."""
        return any(right for _, right in self.first)


class Encoder:
    """The model as any OpenCLIP user would load it."""

    def __init__(self, folder: Path, threads: int) -> None:
        """Load the model, its transform and its tokenizer from a folder."""
        import open_clip
        import torch
        from tokenizers import Tokenizer

        if threads:
            torch.set_num_threads(threads)
        model, _, self.transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
        self._torch = torch
        self._model = model.eval()
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))

    def texts(self, texts: Sequence[str]) -> Floats:
        """Embed texts: (n, dim) float32 unit rows."""
        ids = self._torch.tensor([item.ids for item in self._tokenizer.encode_batch(list(texts))])
        with self._torch.inference_mode():
            return self._numpy(self._model.encode_text(ids, normalize=True))

    def images(self, images: Sequence[Image.Image]) -> Floats:
        """Embed pictures of any size through the model's own transform."""
        return np.concatenate([
            self.batch(self._torch.stack([self.transform(image) for image in images[at : at + 128]]))
            for at in range(0, len(images), 128)
        ])  # fmt: skip

    def batch(self, tensor: torch.Tensor) -> Floats:
        """Embed a normalised float32 batch (n, 3, side, side)."""
        with self._torch.inference_mode():
            return self._numpy(self._model.encode_image(tensor, normalize=True))

    def rate(self, seconds: float = 4.0) -> float:
        """Return photos embedded per second from decoded uint8 pixels, in batches of 64."""
        from clipsearch.builtin.augment import normalise

        size = (64, 3, *self._model.visual.image_size)
        pixels = self._torch.randint(0, 255, size, dtype=self._torch.uint8)
        self.batch(normalise(pixels))
        start, done = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            self.batch(normalise(pixels))
            done += len(pixels)
        return done / (time.perf_counter() - start)

    @staticmethod
    def _numpy(tensor: Any) -> Floats:
        array: npt.NDArray[np.float32] = tensor.float().cpu().numpy()
        return array


def measure(folder: Path, data: Path, cache: Path, encoder: Encoder) -> list[Figure]:
    """Measure everything that needs the training archives, renders and a clock."""
    figures = []
    for dataset, targets in (("tiny200", (0.35, 0.62, 0.5)), ("caltech101", (None,) * 3)):
        photos = load_photos(data, dataset, cache)
        held = np.flatnonzero(photos.validation)
        vectors = encoder.images([Image.fromarray(photos.pixels[index]) for index in held])
        score = zero_shot(vectors, photos.labels[held], class_vectors(photos, encoder.texts))
        name = f"{dataset} validation, {len(held)} photos"
        figures.append(Figure(f"{name}: zero-shot top-1", score.top1, targets[0]))
        figures.append(Figure(f"{name}: zero-shot top-5", score.top5, targets[1]))
        if dataset == "tiny200":
            figures.append(Figure(f"{name}: text to photo precision@10", score.precision_at_10, targets[2]))
    recalls = []
    for block in range(5):
        scenes = gallery(100, FIRST_SEED + 10_000 * block, 256)
        texts = encoder.texts([scene.caption for scene in scenes])
        recalls.append(recall_at_1(texts, encoder.images([scene.image for scene in scenes])))
    figures.append(
        Figure("rendered pictures: recall@1 among 100, mean of 5 draws", float(np.mean(recalls)), 0.9)
    )
    figures.append(Figure("embedded from decoded pixels, photos/s", encoder.rate(), 300))
    size = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
    figures.append(Figure("size of the model folder, MB", size, most=16))
    return figures


def ask(folder: Path, encoder: Encoder, best: int = 5) -> list[Answer]:
    """Ask every everyday query of the photos in `folder`."""
    photos = read_photos(folder)
    images = []
    for photo in photos:
        with Image.open(folder / photo.file) as opened:
            opened.draft("RGB", (256, 256))
            images.append(opened.convert("RGB"))
    scores = encoder.texts([query.text for query in QUERIES]) @ encoder.images(images).T
    return [
        Answer(query.text, tuple((photos[i], is_right(query, photos[i])) for i in np.argsort(-row)[:best]))
        for query, row in zip(QUERIES, scores, strict=True)
    ]


def report(figures: Sequence[Figure], answers: Sequence[Answer]) -> str:
    """Return the figures and answers as a table in plain text."""
    lines = [f"{'figure':<62}{'measured':>10}  {'target':<10}"]
    for figure in figures:
        target = (
            f">= {figure.least:g}"
            if figure.least is not None
            else f"<= {figure.most:g}"
            if figure.most
            else ""
        )
        verdict = "" if not target else "ok" if figure.met else "MISSED"
        value = f"{figure.value:.3f}" if figure.value < 10 else f"{figure.value:.0f}"  # noqa: PLR2004
        lines.append(f"{figure.name:<62}{value:>10}  {target:<10}{verdict}")
    lines.append("")
    lines.append(f"{'everyday query':<24}{'first five':<12}what they are")
    for answer in answers:
        marks = "".join("+" if right else "-" for _, right in answer.first)
        shown = ", ".join(photo.label or photo.captions[0][:40] for photo, _ in answer.first)
        lines.append(f"{answer.query:<24}{marks:<7}{'' if answer.hit else 'miss':<5}{shown}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return 1 when a target was missed."""
    parser = argparse.ArgumentParser(prog="python -m clipsearch.builtin.evaluate", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the training archives")
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos from elsewhere")
    parser.add_argument(
        "--model", type=Path, default=MODEL_DIR, help="model folder (default: the shipped one)"
    )
    parser.add_argument("--cache", type=Path, required=True, help="folder for decoded pixels")
    parser.add_argument("--threads", type=int, default=0, help="0: torch's own choice")
    options = parser.parse_args(arguments)
    options.cache.mkdir(parents=True, exist_ok=True)
    encoder = Encoder(options.model, options.threads)
    figures = measure(options.model, options.data, options.cache, encoder)
    answers = ask(options.photos, encoder)
    hits = sum(answer.hit for answer in answers)
    name = f"everyday queries with a right photo in the first five, of {len(answers)}"
    figures.append(Figure(name, hits, np.ceil(EVERYDAY_SHARE * len(answers))))
    print(report(figures, answers))  # noqa: T201 - a program's output
    return 0 if all(figure.met for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
