"""The training data in memory: pixels as one memory-mapped array, and what is true of each."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from clipsearch.builtin.captions import Caption, Meaning, meaning_of
from clipsearch.builtin.classes import DATASETS, concepts_of
from clipsearch.builtin.scenes import render

SIDE: Final = 64
"""Width and height in pixels of every stored picture."""
RENDER_SEEDS: Final = 1_000_000
"""The first seed of the training renders; evaluation and the demo use smaller ones."""


@dataclass(frozen=True)
class Photos:
    """One archive of labelled photos, decoded."""

    dataset: str
    pixels: npt.NDArray[np.uint8]
    """(n, SIDE, SIDE, 3) RGB."""
    labels: npt.NDArray[np.int64]
    """(n,) indices into `classes`."""
    classes: tuple[str, ...]
    meanings: tuple[Meaning, ...]
    """What each class means, in the order of `classes`."""
    validation: npt.NDArray[np.bool_]
    """(n,) true for the photos that are never trained on."""


@dataclass(frozen=True)
class Renders:
    """Rendered pictures with their captions."""

    pixels: npt.NDArray[np.uint8]
    telling: tuple[tuple[Caption, ...], ...]
    facts: tuple[frozenset[str], ...]
    kinds: tuple[str, ...]


def load_photos(data: Path, dataset: str, cache: Path) -> Photos:
    """Read one archive; decoded pixels are kept in `cache` under the archive's hash."""
    archive = data / f"{dataset}.zip"
    digest = sha256_of(archive)
    store = cache / f"{dataset}-{digest[:12]}-{SIDE}.npy"
    with zipfile.ZipFile(archive) as opened:
        lines = opened.read("labels.tsv").decode("utf-8").splitlines()[1:]
        rows = [line.split("\t") for line in lines]
        if not store.exists():
            pixels = np.empty((len(rows), SIDE, SIDE, 3), np.uint8)
            for index, (name, _, _) in enumerate(rows):
                with Image.open(io.BytesIO(opened.read(name))) as picture:
                    image = picture.convert("RGB")
                if image.size != (SIDE, SIDE):
                    image = image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
                pixels[index] = np.asarray(image)
            _publish(store, pixels)
    classes = tuple(sorted({label for _, label, _ in rows}))
    position = {label: index for index, label in enumerate(classes)}
    return Photos(
        dataset=dataset,
        pixels=np.load(store, mmap_mode="r"),
        labels=np.array([position[label] for _, label, _ in rows], np.int64),
        classes=classes,
        meanings=tuple(meaning_of(concepts_of(dataset, label)) for label in classes),
        validation=np.array([split == "val" for _, _, split in rows], np.bool_),
    )


def load_renders(count: int, cache: Path, first_seed: int = RENDER_SEEDS) -> Renders:
    """Render `count` training pictures at SIDE pixels, or read them from `cache`."""
    source = hashlib.sha256()
    for module in sorted((Path(__file__).parent / "scenes").glob("*.py")):
        source.update(module.read_bytes())
    stem = cache / f"renders-{source.hexdigest()[:12]}-{first_seed}-{count}-{SIDE}"
    store, words = stem.with_suffix(".npy"), stem.with_suffix(".jsonl")
    if not (store.exists() and words.exists()):
        pixels = np.empty((count, SIDE, SIDE, 3), np.uint8)
        with words.open("w", encoding="utf-8") as out:
            for index in range(count):
                scene = render(first_seed + index, SIDE)
                pixels[index] = np.asarray(scene.image)
                told = [(c.text, sorted(c.claims)) for c in scene.telling]
                json.dump({"kind": scene.kind, "facts": sorted(scene.facts), "telling": told}, out)
                out.write("\n")
        _publish(store, pixels)
    records = [json.loads(line) for line in words.read_text(encoding="utf-8").splitlines()]
    return Renders(
        pixels=np.load(store, mmap_mode="r"),
        telling=tuple(
            tuple(Caption(text, frozenset(claims)) for text, claims in record["telling"])
            for record in records
        ),
        facts=tuple(frozenset(record["facts"]) for record in records),
        kinds=tuple(record["kind"] for record in records),
    )


def data_list(data: Path, renders: int) -> str:
    """Return the data list as TSV: every source, its hash and how many pictures it gives."""
    lines = ["source\tsha256\ttrain\tvalidation"]
    for dataset in DATASETS:
        archive = data / f"{dataset}.zip"
        with zipfile.ZipFile(archive) as opened:
            splits = [line.rsplit("\t", 1)[1] for line in opened.read("labels.tsv").decode().splitlines()[1:]]
        held = splits.count("val")
        lines.append(f"{archive.name}\t{sha256_of(archive)}\t{len(splits) - held}\t{held}")
    lines.append(f"renders {RENDER_SEEDS}..{RENDER_SEEDS + renders - 1}\t-\t{renders}\t0")
    return "\n".join(lines) + "\n"


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _publish(store: Path, pixels: npt.NDArray[np.uint8]) -> None:
    unfinished = store.with_suffix(".part.npy")
    np.save(unfinished, pixels)
    unfinished.replace(store)
