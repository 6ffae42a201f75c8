from __future__ import annotations

import json
import logging
import math
import os
import pickle
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_model import make_local_dir
from torchvision.transforms import Normalize, ToTensor  # type: ignore[import-untyped]

from clipsearch.encoders import available_models, openclip, precision, registry
from clipsearch.encoders.checkpoint import locate
from clipsearch.encoders.export import export_image_towers
from clipsearch.encoders.images import TowerEncoder
from clipsearch.encoders.onnx import OnnxImageTower
from clipsearch.encoders.openclip import TorchTower, choose_device, load
from clipsearch.errors import BadCheckpointError, ModelUnavailableError, UsageError
from clipsearch.types import Listeners, ModelSource

PHOTOS = Path(__file__).parents[2] / "shared" / "photos"


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="module", params=[False, True], ids=["clip", "siglip"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_local_dir(tmp_path_factory.mktemp("model") / "tiny", siglip=request.param)


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_local_dir(tmp_path_factory.mktemp("model") / "tiny")


def pictures(size: tuple[int, int], count: int = 12) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Real photographs where there are some, else drawn ones, already at the model's size."""
    files = sorted(PHOTOS.rglob("*.jpg"))[:count]
    if len(files) < count:
        return precision.natural_pictures(count, size)
    opened = [Image.open(file).convert("RGB").resize(size[::-1], Image.Resampling.BICUBIC) for file in files]
    return np.stack([np.asarray(image) for image in opened])


def reference(network: Any, images: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, Any]:
    """OpenCLIP's own float32 embeddings of the same pixels."""
    settings = network.visual.preprocess_cfg
    normalize = Normalize(settings["mean"], settings["std"])
    batch = torch.stack([normalize(ToTensor()(Image.fromarray(image))) for image in images])
    with torch.no_grad():
        rows: np.ndarray[Any, Any] = network.encode_image(batch, normalize=True).numpy()
    return rows


def opened(folder: Path) -> openclip.LoadedModel:
    return load(registry.resolve(str(folder)), Listeners())


def float32(loaded: openclip.LoadedModel, batch_size: int | None = None) -> TowerEncoder:
    """An encoder that computes as OpenCLIP does."""
    return TowerEncoder(loaded.model, TorchTower(loaded, torch.device("cpu"), torch.float32), batch_size)


def test_embeddings_are_those_of_open_clip(folder: Path) -> None:
    network, _ = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    encoder = float32(opened(folder), batch_size=5)
    images = pictures(encoder.model.preprocessing.size)
    got, wanted = encoder.encode(images), reference(network.eval(), images)
    assert got.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, atol=1e-5)
    assert (got * wanted).sum(axis=1).min() >= 0.99999


def test_model_says_what_open_clip_says(folder: Path) -> None:
    network, _ = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    model = opened(folder).model
    settings = network.visual.preprocess_cfg
    assert model.source == ModelSource(f"local-dir:{folder}")
    assert model.dim == network.encode_text(torch.zeros(1, network.context_length, dtype=torch.long)).shape[1]
    assert model.logit_scale == pytest.approx(float(network.logit_scale.detach().exp()))
    bias = network.logit_bias
    assert model.logit_bias == (None if bias is None else pytest.approx(float(bias.detach())))
    found = asdict(model.preprocessing)
    assert {name: found[name] for name in ("resize_mode", "interpolation", "fill_color")} == {
        name: settings[name] for name in ("resize_mode", "interpolation", "fill_color")
    }
    assert found["size"] == tuple(settings["size"])
    assert found["mean"] == tuple(settings["mean"])
    assert found["std"] == tuple(settings["std"])


def test_one_image_two_captions_as_in_open_clips_readme(clip_folder: Path) -> None:
    network, _ = open_clip.create_model_from_pretrained(f"local-dir:{clip_folder}")
    tokens = open_clip.get_tokenizer(f"local-dir:{clip_folder}")(["a diagram", "a dog"])
    images = pictures((32, 32), 1)
    with torch.no_grad():
        texts = network.encode_text(tokens, normalize=True).numpy()
        wanted = network.logit_scale.detach().exp().item() * reference(network, images) @ texts.T
    encoder = float32(opened(clip_folder))
    got = encoder.model.logit_scale * encoder.encode(images) @ texts.T
    exact = torch.tensor(wanted).softmax(dim=-1).numpy()
    np.testing.assert_allclose(torch.tensor(got).softmax(dim=-1).numpy(), exact, atol=2e-3)


def test_order_and_count_do_not_depend_on_the_batch_size(clip_folder: Path) -> None:
    images = precision.natural_pictures(7, (32, 32))
    encoder = float32(opened(clip_folder), batch_size=3)
    together = encoder.encode(images)
    encoder.batch_size = 100
    np.testing.assert_allclose(encoder.encode(images), together, atol=2e-3)
    assert encoder.encode(images[:0]).shape == (0, encoder.model.dim)


def test_batch_is_halved_when_memory_runs_out(clip_folder: Path) -> None:
    encoder = float32(opened(clip_folder), batch_size=16)
    images = precision.natural_pictures(10, (32, 32))
    wanted, tower = encoder.encode(images), encoder._tower

    def small_device(batch: Any) -> Any:
        if len(batch) > 3:
            raise MemoryError
        return tower(batch)

    encoder._tower = small_device  # type: ignore[assignment]
    np.testing.assert_allclose(encoder.encode(images), wanted, atol=2e-3)
    assert encoder.batch_size == 2


def test_fingerprint_knows_weights_preprocessing_and_architecture_not_the_place(tmp_path: Path) -> None:
    first = opened(make_local_dir(tmp_path / "a", seed=1)).model.fingerprint
    assert opened(make_local_dir(tmp_path / "b", seed=1)).model.fingerprint == first
    assert opened(make_local_dir(tmp_path / "c", seed=2)).model.fingerprint != first
    path = tmp_path / "b" / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["preprocess_cfg"]["resize_mode"] = "squash"
    path.write_text(json.dumps(config))
    assert opened(tmp_path / "b").model.fingerprint != first


def test_device_that_is_not_here_is_named_with_those_that_are() -> None:
    assert choose_device("cpu").type == "cpu"
    with pytest.raises(UsageError) as caught:
        choose_device("tpu")
    assert "cpu" in caught.value.hint


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch executed",)


def _missing(path: Path) -> None:
    weights = load_file(path)
    del weights["visual.conv1.weight"]
    save_file(weights, path)


def _misshapen(path: Path) -> None:
    save_file({**load_file(path), "logit_scale": torch.zeros(3), "ln_final.bias": torch.zeros(3)}, path)


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def _garbage(path: Path) -> None:
    path.write_bytes(b"<html>not found</html>")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (_missing, "does not fit the architecture"),
        (_misshapen, "checkpoint|does not fit"),
        (_truncated, "not a usable checkpoint"),
        (_garbage, "not a usable checkpoint"),
        (_empty, "not a usable checkpoint"),
    ],
)
def test_bad_weights_are_one_clear_line(tmp_path: Path, harm: Any, message: str) -> None:
    folder = make_local_dir(tmp_path / "model")
    harm(folder / "open_clip_model.safetensors")
    with pytest.raises(BadCheckpointError, match=message) as caught:
        opened(folder)
    assert "\n" not in caught.value.message
    assert "open_clip_model.safetensors" in caught.value.message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": _Evil()}, "never run"),
        ([1, 2, 3], "not a usable checkpoint"),
        ({}, "not a usable checkpoint"),
    ],
)
def test_code_in_a_pickle_is_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: Any, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = make_local_dir(tmp_path / "model")
    (folder / "open_clip_model.safetensors").unlink()
    torch.save(content, folder / "open_clip_pytorch_model.bin")
    with pytest.raises(BadCheckpointError, match=message):
        opened(folder)
    (folder / "open_clip_pytorch_model.bin").write_bytes(pickle.dumps(content))
    with pytest.raises(BadCheckpointError):
        opened(folder)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"model_cfg": {"embed_dim": 3}}', '{"model_cfg": 1}'])
def test_bad_configuration_is_one_clear_line(tmp_path: Path, text: str) -> None:
    folder = make_local_dir(tmp_path / "model")
    (folder / "open_clip_config.json").write_text(text)
    with pytest.raises(BadCheckpointError, match=r"open_clip_config\.json"):
        opened(folder)


def test_configuration_that_cannot_be_built_is_one_clear_line(tmp_path: Path) -> None:
    folder = make_local_dir(tmp_path / "model")
    path = folder / "open_clip_config.json"
    path.write_text(path.read_text().replace('"patch_size"', '"patchsize"'))
    with pytest.raises(BadCheckpointError, match="cannot be built"):
        opened(folder)


def test_absent_files_are_said_so(tmp_path: Path) -> None:
    folder = make_local_dir(tmp_path / "model")
    source = registry.resolve(str(folder))
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(BadCheckpointError, match="holds no weights"):
        load(source, Listeners())
    (folder / "open_clip_config.json").unlink()
    with pytest.raises(ModelUnavailableError, match="is not there"):
        load(source, Listeners())
    with pytest.raises(ModelUnavailableError, match="is not there"):
        load(ModelSource("ViT-B-32", tmp_path / "gone.pt"), Listeners())


def test_pickled_and_wrapped_checkpoints_load(tmp_path: Path) -> None:
    folder = make_local_dir(tmp_path / "model")
    weights = load_file(folder / "open_clip_model.safetensors")
    (folder / "open_clip_model.safetensors").unlink()
    wrapped = {"state_dict": {f"module.{name}": value for name, value in weights.items()}, "epoch": 3}
    torch.save(wrapped, folder / "epoch_3.pt")
    assert opened(folder).model.dim == 16


def test_model_from_a_hub_is_the_model_from_its_folder(
    clip_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from test_hub import REPO, Hub

    monkeypatch.delenv("HF_HUB_OFFLINE")
    with Hub(clip_folder) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        source = registry.resolve(f"hf-hub:{REPO}")
        model = load(source, Listeners()).model
        server.shutdown()
        cached = load(source, Listeners()).model  # now from the cache, the hub is gone
    assert model == cached
    assert model.source == source
    assert model.fingerprint == opened(clip_folder).model.fingerprint


def test_damaged_cache_is_noticed_and_cleaned(clip_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from test_hub import REPO, Hub

    monkeypatch.delenv("HF_HUB_OFFLINE")
    with Hub(clip_folder) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        source = registry.resolve(f"hf-hub:{REPO}")
        weights = locate(source, Listeners()).weights
        blob = weights.resolve()
        blob.write_bytes(blob.read_bytes()[:-1] + b"?")
        with pytest.raises(ModelUnavailableError, match="SHA-256"):
            load(source, Listeners())
        assert load(source, Listeners()).model.dim == 16
        server.shutdown()


def test_published_models_start_with_the_presets() -> None:
    models = available_models()
    assert [model.preset.name for model in models if model.preset] == list(registry.PRESETS)
    assert models[0].name == "ViT-B-32-256/datacomp_s34b_b86k"
    names = [model.name for model in models]
    assert len(set(names)) == len(names) > 100


def test_loading_prints_nothing_and_leaves_logging_alone(clip_folder: Path) -> None:
    code = (
        "import logging; from clipsearch.encoders import openclip, registry;"
        "from clipsearch.types import Listeners;"
        f"loaded = openclip.load(registry.resolve({str(clip_folder)!r}), Listeners());"
        "import torch;"
        "openclip.TorchTower(loaded, torch.device('cpu'), torch.float32);"
        "assert logging.root.handlers == [] and logging.root.manager.disable == 0"
    )
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("", "")
    assert logging.root.manager.disable == 0


@pytest.mark.slow
def test_default_architecture_with_a_local_checkpoint_is_open_clips(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = open_clip.create_model("ViT-B-32-256").eval()
    weights = tmp_path / "random.safetensors"
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, weights)
    loaded = load(registry.resolve("default", weights), Listeners())
    assert loaded.model.source == ModelSource("ViT-B-32-256", weights)
    encoder = float32(loaded)
    images = pictures((256, 256))
    assert (encoder.encode(images) * reference(network, images)).sum(axis=1).min() >= 0.99999
    assert math.isclose(encoder.model.logit_scale, 1 / 0.07, rel_tol=1e-5)
    formats = export_image_towers(loaded, tmp_path, images)
    for name, least in zip(formats, (0.99999, 0.9995), strict=True):
        found = OnnxImageTower(tmp_path, f"onnx-{name}")(images)
        assert (found * encoder.encode(images)).sum(axis=1).min() >= least
