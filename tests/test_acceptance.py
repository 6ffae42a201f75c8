"""A thousand real photographs, held against OpenCLIP's own pipeline and brute force in numpy."""

from __future__ import annotations

import csv
import random
import shutil
from collections import Counter
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from conftest import CACHE
from PIL import Image, ImageOps

from clipsearch import Library
from clipsearch.encoders import cache, open_image_encoder, registry
from clipsearch.encoders.onnx import cpu_hardware
from clipsearch.encoders.precision import OVERLAP

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

QUERIES = 200


@dataclass
class Reference:
    """OpenCLIP's own embeddings: preprocessing, model and tokenizer all its own, float32."""

    paths: list[Path]
    images: NDArray[np.float32]
    texts: list[str]
    queries: NDArray[np.float32]
    logit_scale: float


def reference(photos: Path, name: str, pretrained: str | None, texts: list[str]) -> Reference:
    import open_clip
    import torch

    model, _, preprocess = open_clip.create_model_and_transforms(name, pretrained=pretrained)
    model.eval()
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    paths = sorted(path for path in photos.rglob("*") if path.suffix in {".jpg", ".png", ".webp"})
    with torch.inference_mode():
        rows = []
        for start in range(0, len(paths), 50):
            batch = []
            for path in paths[start : start + 50]:
                with Image.open(path) as image:
                    batch.append(preprocess(image))
            rows.append(model.encode_image(torch.stack(batch), normalize=True).numpy())
        queries = model.encode_text(tokenizer(texts), normalize=True).numpy()
        scale = float(model.logit_scale.exp())
    return Reference(paths, np.concatenate(rows), texts, queries, scale)


def captions(photos: Path) -> list[str]:
    """Two hundred captions and words, drawn at random."""
    with (photos / "captions.tsv").open(encoding="utf-8") as file:
        lines = [row["caption"] for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]
    with (photos / "labels.tsv").open(encoding="utf-8") as file:
        lines += [row["label"] for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]
    return random.Random(5).sample(sorted(filter(None, set(lines))), QUERIES)


def check(library: Library, wanted: Reference) -> None:
    """Own nearest neighbor, scores, order of the first ten, probabilities."""
    bytes_of = {path: path.read_bytes() for path in wanted.paths}
    rows = dict(zip(wanted.paths, wanted.images, strict=True))
    for path in wanted.paths:
        best = library.similar(path, include_self=True, limit=1)[0]
        assert best.score >= 0.999
        assert bytes_of[best.path] == bytes_of[path]

    # Stored vectors are float16, which moves scores by up to 1e-4: photos closer than that are tied.
    agree = same_tens = 0
    for text, query in zip(wanted.texts, wanted.queries, strict=True):
        found = library.search(text, limit=10)
        exact = np.sort(wanted.images @ query)[::-1]
        for match in found:
            assert match.score == pytest.approx(float(rows[match.path] @ query), abs=2e-3)
        np.testing.assert_allclose([match.score for match in found], exact[:10], atol=2e-3)
        order = [float(rows[match.path] @ query) for match in found]
        agree += all(one >= two - 1e-4 for one, two in pairwise(order))
        same_tens += order[-1] >= exact[9] - 1e-4
    assert min(agree, same_tens) >= 0.99 * QUERIES

    # The known example of zero-shot classification: softmax of logit_scale times cosine.
    odds = np.exp(wanted.logit_scale * (wanted.images @ wanted.queries[:4].T).astype(np.float64))
    exact = dict(zip(wanted.paths, odds / odds.sum(axis=1, keepdims=True), strict=True))
    found = {p.path: p.probabilities for p in library.classify(wanted.texts[:4], templates=["{}"])}
    assert set(found) == set(wanted.paths)
    for path, chances in found.items():
        np.testing.assert_allclose(chances, exact[path], atol=5e-3)


@pytest.fixture
def photos(shared_photos: Path, tmp_path: Path) -> Path:
    """A copy of the photographs, free to change."""
    return shutil.copytree(shared_photos, tmp_path / "photos")


def test_a_thousand_photographs_with_a_tiny_model(
    photos: Path, tiny_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(tiny_models / CACHE))
    model = tiny_models / "clip"
    wanted = reference(photos, f"local-dir:{model}", None, captions(photos))
    with Library.open(tmp_path / "library") as library:
        report = library.index([photos], model=f"local-dir:{model}")
        assert report.new + report.copied == len(wanted.paths) == 1000
        assert report.skipped == 0
        check(library, wanted)
        report = library.index()
        assert (report.unchanged, report.embedded) == (1000, 0)
        shuffle(photos, wanted.paths)
        report = library.index()
        assert (report.moved, report.copied, report.removed, report.changed) == (100, 50, 30, 20)
        assert (report.embedded, report.new, report.unchanged) == (20, 0, 850)
        found = library.search("anything", limit=2000)
        assert {match.path for match in found} == {
            path for path in photos.rglob("*") if path.suffix in {".jpg", ".png", ".webp"}
        }


def shuffle(photos: Path, paths: list[Path]) -> None:
    """Rename 100 photos, copy 50, delete 30 and edit 20; none of them twice, none that has a twin."""
    count = Counter(path.read_bytes() for path in paths)
    single = [path for path in paths if count[path.read_bytes()] == 1]
    chosen = iter(random.Random(9).sample(single, 200))
    (photos / "renamed").mkdir()
    for number, path in enumerate(islice(chosen, 100)):
        path.rename(photos / "renamed" / f"{number}{path.suffix}")
    for path in islice(chosen, 50):
        shutil.copy2(path, path.with_name(f"copy of {path.name}"))
    for path in islice(chosen, 30):
        path.unlink()
    for path in chosen:
        with Image.open(path) as image:
            edited = ImageOps.mirror(image.convert("RGB"))
        edited.save(path)


@pytest.mark.slow
def test_a_thousand_photographs_with_the_default_architecture(photos: Path, tmp_path: Path) -> None:
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    weights = tmp_path / "weights.safetensors"
    save_file(open_clip.create_model("ViT-B-32-256").state_dict(), weights)
    wanted = reference(photos, "ViT-B-32-256", str(weights), captions(photos))
    with Library.open(tmp_path / "library") as library:
        report = library.index([photos], model="ViT-B-32-256", weights=weights)
        assert report.new + report.copied == len(wanted.paths) == 1000
        check_neighbors(library, wanted)
    source = registry.resolve("ViT-B-32-256", weights)
    fingerprint = open_image_encoder(source, device="cpu").model.fingerprint
    cache.remember_engine(fingerprint, cpu_hardware(), "float32")
    with Library.open(tmp_path / "exact") as library:
        library.index([photos], model="ViT-B-32-256", weights=weights)
        check(library, wanted)


def check_neighbors(library: Library, wanted: Reference) -> None:
    """Whatever engine was chosen: the ten nearest of each photo, as in float32."""
    place = {path: number for number, path in enumerate(wanted.paths)}
    scores = wanted.images @ wanted.images.T
    same = 0
    for path in wanted.paths:
        row = np.delete(scores[place[path]], place[path])
        tenth = np.sort(row)[-10]
        found = library.similar(path, limit=10)
        # Photos closer to each other than float16 tells are tied.
        same += sum(scores[place[path], place[match.path]] >= tenth - 1e-4 for match in found)
    assert same >= OVERLAP * 10 * len(wanted.paths)
