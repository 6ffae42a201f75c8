from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_families import (
    CHINESE,
    REPRESENTATIVES,
    SmallModel,
    config_of,
    image_kind,
    text_kind,
)
from test_hub import Hub
from test_tokenizer import TEXTS

from clipsearch import Library
from clipsearch.encoders import open_text_encoder, precision, registry
from clipsearch.encoders.onnx import OnnxTextEncoder
from clipsearch.encoders.openclip import TorchTower, load
from clipsearch.encoders.registry import architectures
from clipsearch.types import Listeners

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Texts that say something to a vocabulary as small as these.
QUERIES = ["a dog", "dogs on a cat", "hello world", "3.14159 1,000,000", *TEXTS]


def test_every_family_that_open_clip_lists_has_its_representative() -> None:
    for kind in (image_kind, text_kind):
        listed = {kind(config_of(name)) for name in architectures()}
        assert listed == {kind(config_of(name)) for name in REPRESENTATIVES}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with Hub(tmp_path) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server
        server.shutdown()


def cosines(first: Any, second: Any) -> Any:
    return (first * second).sum(axis=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*REPRESENTATIVES, CHINESE])
def test_every_family_is_indexed_and_searched_as_open_clip_does(name: str, hub: Hub, tmp_path: Path) -> None:
    small = SmallModel(name, tmp_path)
    hub.folders |= small.repositories
    told: list[str] = []
    photos = tmp_path / "photos"
    photos.mkdir()
    pixels = precision.natural_pictures(3, (300, 300))
    for number, picture in enumerate(pixels):
        Image.fromarray(picture).save(photos / f"{number}.png")
    with Library.open(tmp_path / "library", listeners=Listeners(notice=told.append)) as library:
        assert library.index([photos], model=f"hf-hub:{small.REPO}").new == 3
        model = library.status().model
        assert model is not None
        assert (model.logit_bias is not None) == ("siglip" in name.lower())
        found = library.search("a dog", limit=3)
        predictions = list(library.classify(["a dog", "hello world"], templates=["{}"]))
    encoder = open_text_encoder(model)
    assert isinstance(encoder, OnnxTextEncoder), told
    wanted = small.texts(QUERIES)
    assert cosines(encoder.encode(QUERIES), wanted).min() >= 0.9999
    assert (wanted @ wanted.T).min() < 0.99  # texts differ

    tower = TorchTower(
        load(registry.resolve(f"hf-hub:{small.REPO}"), Listeners()), torch.device("cpu"), torch.float32
    )
    squashed = precision.natural_pictures(3, model.preprocessing.size)
    assert cosines(tower(squashed), small.images(squashed)).min() >= 0.9999

    scores = {match.path: match.score for match in found}
    for prediction in predictions:
        score = scores[prediction.path]
        assert score is not None
        if model.logit_bias is None:
            assert sum(prediction.probabilities) == pytest.approx(1)
        else:
            logit = model.logit_scale * score + model.logit_bias
            assert prediction.probabilities[0] == pytest.approx(1 / (1 + np.exp(-logit)), abs=2e-3)
