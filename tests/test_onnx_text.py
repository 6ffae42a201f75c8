from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import open_clip
import pytest
import torch
from conftest import CACHE
from faults import filled, mounted
from safetensors.torch import save_file
from test_tokenizer import TEXTS, gemma_like
from tiny_model import make_local_dir, tiny_config

from clipsearch.cli import main
from clipsearch.encoders import cache, export, open_image_encoder, open_text_encoder, registry
from clipsearch.encoders.onnx import OnnxTextEncoder
from clipsearch.encoders.openclip import TorchTextEncoder
from clipsearch.errors import ModelError
from clipsearch.types import Listeners, Model

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module", params=["clip", "siglip"])
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny_models: Path
) -> tuple[Path, Path, Model]:
    """A model's folder, the cache that knows it alone, and its identity."""
    root = tmp_path_factory.mktemp("text")
    folder = tiny_models / request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPSEARCH_CACHE", str(tiny_models / CACHE))
        model = open_image_encoder(registry.resolve(str(folder)), device="cpu").model
        known = cache.folder_of(model.fingerprint)
    (root / "cache" / "models").mkdir(parents=True)
    (root / "cache" / "models" / ".lock").touch()
    shutil.copy(known.with_name("checkpoints.json"), root / "cache" / "models")
    shutil.copytree(known, root / "cache" / "models" / known.name)
    return folder, root / "cache", model


@pytest.fixture
def clip(
    exported: tuple[Path, Path, Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Model]:
    """A copy of the cache that a test may harm."""
    shutil.copytree(exported[1], tmp_path / "cache")
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return cache.folder_of(exported[2].fingerprint), exported[2]


def reference(folder: Path, texts: list[str]) -> Any:
    network, _ = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    with torch.no_grad():
        return network.eval().encode_text(tokenizer(texts), normalize=True).numpy()


def test_text_embeddings_are_those_of_open_clip(
    exported: tuple[Path, Path, Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, cached, model = exported
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(cached))
    encoder = open_text_encoder(model)
    assert isinstance(encoder, OnnxTextEncoder)
    assert encoder.model == model
    got, wanted = encoder.encode(TEXTS), reference(folder, TEXTS)
    assert got.dtype == np.float32
    assert got.shape == (len(TEXTS), model.dim)
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, atol=1e-5)
    assert (got * wanted).sum(axis=1).min() >= 0.9999
    assert encoder.encode([]).shape == (0, model.dim)


def test_order_does_not_depend_on_length_or_number(clip: tuple[Path, Model]) -> None:
    encoder = open_text_encoder(clip[1])
    texts = [f"{'very ' * (number % 50)}long text {number}" for number in range(100)]
    together = encoder.encode(texts)
    for number in (0, 49, 50, 99):
        np.testing.assert_allclose(encoder.encode([texts[number]])[0], together[number], atol=1e-4)


def test_causal_towers_compute_only_what_matters(clip: tuple[Path, Model]) -> None:
    cached = cache.read(clip[1].fingerprint)
    assert cached is not None
    assert cached.trims == (clip[1].logit_bias is None)


def test_query_imports_neither_torch_nor_open_clip(clip: tuple[Path, Model]) -> None:
    code = (
        "import sys; from clipsearch.encoders import cache, open_text_encoder;"
        f"cached = cache.read({clip[1].fingerprint!r});"
        "open_text_encoder(cached.model).encode(['a dog']);"
        "heavy = {'torch', 'open_clip', 'transformers', 'onnx', 'huggingface_hub', 'ftfy', 'PIL'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")


def test_deleted_cache_is_made_again_and_said_so(clip: tuple[Path, Model]) -> None:
    folder, model = clip
    wanted = open_text_encoder(model).encode(["a dog"])
    shutil.rmtree(folder)
    told: list[str] = []
    encoder = open_text_encoder(model, listeners=Listeners(notice=told.append))
    np.testing.assert_allclose(encoder.encode(["a dog"]), wanted, atol=1e-5)
    assert "not in the model cache any more" in told[0]
    assert folder.is_dir()
    assert set(os.listdir(folder.parent)) == {folder.name, "checkpoints.json", ".lock"}  # noqa: PTH208 - no hidden leftovers


@pytest.mark.parametrize(
    "name",
    ["text.onnx.data", pytest.param("model.json", marks=pytest.mark.slow)],
)
def test_damaged_cache_is_made_again(clip: tuple[Path, Model], name: str) -> None:
    folder, model = clip
    wanted = open_text_encoder(model).encode(["a dog"])
    (folder / name).write_bytes((folder / name).read_bytes()[:100])
    told: list[str] = []
    encoder = open_text_encoder(model, listeners=Listeners(notice=told.append))
    np.testing.assert_allclose(encoder.encode(["a dog"]), wanted, atol=1e-5)
    assert told
    assert isinstance(open_text_encoder(model), OnnxTextEncoder)


def test_cache_of_another_format_is_not_read(clip: tuple[Path, Model]) -> None:
    path = clip[0] / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    assert cache.read(clip[1].fingerprint) is None


def test_weights_that_changed_are_refused(
    clip: tuple[Path, Model], exported: tuple[Path, Path, Model], tmp_path: Path
) -> None:
    changed = make_local_dir(tmp_path / "changed", seed=5, siglip=clip[1].logit_bias is not None)
    model = replace(clip[1], source=registry.resolve(str(changed)))
    assert open_text_encoder(model).model.source == model.source  # cached: the source is not asked
    shutil.rmtree(clip[0])
    with pytest.raises(ModelError, match="its weights have changed"):
        open_text_encoder(model)
    assert exported[0].is_dir()


def test_tower_that_cannot_be_exported_runs_on_torch(
    clip: tuple[Path, Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, model = clip
    wanted = open_text_encoder(model).encode(TEXTS)
    shutil.rmtree(folder)

    def refuse(*_: object, **__: object) -> None:
        raise NotImplementedError("no such operation in ONNX")

    monkeypatch.setattr(export, "export_text_tower", refuse)
    told: list[str] = []
    encoder = open_text_encoder(model, listeners=Listeners(notice=told.append))
    assert isinstance(encoder, TorchTextEncoder)
    assert any("cannot be exported" in sentence for sentence in told)
    assert (encoder.encode(TEXTS) * wanted).sum(axis=1).min() >= 0.9999
    assert encoder.encode([]).shape == (0, model.dim)
    assert isinstance(open_text_encoder(model), TorchTextEncoder)  # remembered


def test_cache_that_cannot_be_written_is_one_clear_error(
    exported: tuple[Path, Path, Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match=r"model cache .* cannot be written") as caught:
        open_image_encoder(registry.resolve(str(exported[0])), device="cpu")
    assert "CLIPSEARCH_CACHE" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "free"),
    [
        ("clip", 6_000_000),
        *(
            pytest.param(name, free, marks=pytest.mark.slow)
            for name, free in [
                ("clip", 0),
                ("clip", 3_000_000),
                ("siglip", 0),
                ("siglip", 3_000_000),
                ("siglip", 6_000_000),
            ]
        ),
    ],
)
def test_a_full_disk_is_not_remembered_as_a_model_that_cannot_be_exported(
    tiny_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, free: int
) -> None:
    source = registry.resolve(str(tiny_models / name))
    with mounted(tmp_path, "-t", "tmpfs", "-o", "size=32m", "tmpfs") as disk:
        monkeypatch.setenv("CLIPSEARCH_CACHE", str(disk))
        (disk / "models").mkdir()
        with filled(disk, free), pytest.raises(ModelError, match="no space left on device"):
            open_image_encoder(source, device="cpu", pictures=1)
        assert os.listdir(disk / "models") == [".lock"]  # noqa: PTH208 - no hidden leftovers
        model = open_image_encoder(source, device="cpu", pictures=1).model
        cached = cache.read(model.fingerprint)
        assert cached is not None
        assert cached.has_text


def test_what_a_killed_export_left_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(tmp_path))
    script = (
        "import os; from clipsearch.encoders import cache\nwith cache.drafting(): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script], check=False)
    (left,) = (tmp_path / "models").glob(".new-*")
    with cache.drafting() as draft:
        assert not left.exists()
        (draft / "model.json").write_text("{}")
        cache.publish(draft, "f00d")
    assert sorted(os.listdir(tmp_path / "models")) == [".lock", "f00d"]  # noqa: PTH208


def test_own_tokenizer_of_a_local_model_serves_queries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(tmp_path / "cache"))
    folder = make_local_dir(tmp_path / "model", siglip=True)
    gemma_like(folder, padding_side="right")
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["model_cfg"]["text_cfg"] |= {
        "hf_tokenizer_name": "no/matter",
        "tokenizer_kwargs": {"clean": "canonicalize"},
    }
    path.write_text(json.dumps(config))
    model = open_image_encoder(registry.resolve(str(folder)), device="cpu", pictures=1).model
    rows = open_text_encoder(model).encode(TEXTS)
    assert (rows * reference(folder, TEXTS)).sum(axis=1).min() >= 0.9999


def test_custom_text_towers_with_causal_attention_are_trimmed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(tmp_path / "cache"))
    config = tiny_config()
    torch.manual_seed(0)
    network = open_clip.CustomTextCLIP(**config)
    (tmp_path / "model").mkdir()
    written = {"model_cfg": {**config, "custom_text": True}, "preprocess_cfg": {}}
    (tmp_path / "model" / "open_clip_config.json").write_text(json.dumps(written))
    save_file(
        {name: value.contiguous() for name, value in network.state_dict().items()},
        tmp_path / "model" / "open_clip_model.safetensors",
    )
    model = open_image_encoder(registry.resolve(str(tmp_path / "model")), device="cpu", pictures=1).model
    cached = cache.read(model.fingerprint)
    assert cached is not None
    assert cached.trims
    rows = open_text_encoder(model).encode(TEXTS)
    assert (rows * reference(tmp_path / "model", TEXTS)).sum(axis=1).min() >= 0.9999


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["ViT-B-32-256", "coca_ViT-B-32"])
def test_real_architectures_keep_the_cosine(
    architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    network = open_clip.create_model(architecture).eval()
    weights = tmp_path / "random.safetensors"
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, weights)
    model = open_image_encoder(registry.resolve(architecture, weights), device="cpu").model
    encoder = open_text_encoder(model)
    assert isinstance(encoder, OnnxTextEncoder)
    with torch.no_grad():
        wanted = network.encode_text(open_clip.get_tokenizer(architecture)(TEXTS), normalize=True).numpy()
    assert (encoder.encode(TEXTS) * wanted).sum(axis=1).min() >= 0.9999


def test_models_says_what_is_prepared_and_which_cannot_be_exported(
    clip: tuple[Path, Model], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if str(clip[1].source)[:40] in line)
    assert "cannot be exported" not in line
    path = clip[0] / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "has_text": False}))
    assert main(["models", "--json"]) == 0
    (prepared,) = json.loads(capsys.readouterr().out)["prepared"]
    assert prepared["name"] == str(clip[1].source)
    assert prepared["text_queries"] == "torch"
    assert prepared["size"] > 1_000_000
    assert main(["models"]) == 0
    assert "cannot be exported" in " ".join(capsys.readouterr().out.split())
