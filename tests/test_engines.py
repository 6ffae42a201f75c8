from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import onnx
import open_clip
import pytest
import torch
from conftest import CACHE
from onnx import numpy_helper
from open_clip.transformer import VisionTransformer
from tiny_model import make_local_dir

from clipsearch.encoders import cache, open_image_encoder, precision, registry
from clipsearch.encoders.export import export_image_towers
from clipsearch.encoders.images import TowerEncoder
from clipsearch.encoders.onnx import OnnxImageTower, cpu_hardware, open_image_tower
from clipsearch.encoders.openclip import LoadedModel, TorchTower, load
from clipsearch.encoders.quantize import _rounded
from clipsearch.encoders.vision import AnyTower, ClassTokenTransformer, exportable
from clipsearch.errors import ModelError
from clipsearch.types import Listeners, Preprocessing

if TYPE_CHECKING:
    from pathlib import Path

CPU = torch.device("cpu")
STANDARD = Preprocessing(
    size=(32, 32),
    mean=(0.48, 0.46, 0.41),
    std=(0.27, 0.26, 0.28),
    resize_mode="shortest",
    interpolation="bicubic",
    fill_color=0,
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module", params=["clip", "siglip", "builtin"])
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    name = request.param
    if name != "builtin":
        name = str(make_local_dir(tmp_path_factory.mktemp("model") / name, siglip=name == "siglip"))
    return load(registry.resolve(name), Listeners())


class Towers(NamedTuple):
    """What a loaded model's image tower was exported to."""

    folder: Path
    formats: list[str]


@pytest.fixture(scope="module")
def towers(loaded: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Towers:
    folder = tmp_path_factory.mktemp("towers")
    images = precision.natural_pictures(3, loaded.model.preprocessing.size)
    return Towers(folder, export_image_towers(loaded, folder, images))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_local_dir(tmp_path / "model")


@pytest.fixture
def known(tiny_models: Path, tmp_path: Path) -> Path:
    """A folder with a model that is in this test's cache already."""
    shutil.copytree(tiny_models / CACHE, tmp_path / "cache")
    return shutil.copytree(tiny_models / "clip", tmp_path / "model")


@pytest.fixture
def unmeasured(known: Path, tmp_path: Path) -> Path:
    """The same, but for its image towers, of which nothing is known."""
    for pattern in ("image-*", "engines.json"):
        for path in tmp_path.glob(f"cache/models/*/{pattern}"):
            path.unlink()
    return known


def opened(folder: Path, notices: list[str] | None = None, *, pictures: int | None = None) -> TowerEncoder:
    listeners = Listeners(notice=None if notices is None else notices.append)
    source = registry.resolve(str(folder))
    encoder = open_image_encoder(source, device="cpu", pictures=pictures, listeners=listeners)
    assert isinstance(encoder, TowerEncoder)
    return encoder


def test_exported_towers_embed_as_torch_does(loaded: LoadedModel, towers: Towers) -> None:
    images = precision.natural_pictures(13, loaded.model.preprocessing.size)
    wanted = TorchTower(loaded, CPU, torch.float32)(images)
    formats = towers.formats
    # The built-in model's tower convolves: it has no sequences of tokens to round.
    assert formats == (["float32"] if str(loaded.model.source) == "builtin" else ["float32", "int8"])
    cosines: dict[str, Any] = {}
    for name in formats:
        found = OnnxImageTower(towers.folder, f"onnx-{name}")(images)
        assert found.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
        cosines[name] = (found * wanted).sum(axis=1)
    assert cosines["float32"].min() >= 0.99999
    # Two blocks 32 wide, made to overreact, average little of the rounding out; real ones do.
    assert np.median(cosines.get("int8", 1)) >= 0.999


def test_products_of_token_sequences_are_rounded_and_no_others(towers: Towers) -> None:
    if "int8" not in towers.formats:
        pytest.skip("a convolutional tower has none")
    graph = onnx.load(towers.folder / cache.image_name("int8"), load_external_data=False).graph
    kinds = [node.op_type for node in graph.node]
    # The patches; of two blocks, four in the first, keys and values in the second.
    assert kinds.count("DynamicQuantizeMatMul") == 6
    assert kinds.count("Gemm") + kinds.count("MatMul") >= 4  # what follows pooling


def test_rounding_errors_cancel() -> None:
    random = np.random.default_rng(0)
    weight = random.normal(size=(300, 20)).astype(np.float32)
    rounded, scale = (numpy_helper.to_array(tensor) for tensor in _rounded("w", weight))
    assert rounded.dtype == np.int8
    assert np.abs(rounded).max() == 64
    errors = weight - rounded * scale
    assert (np.abs(errors) <= 1.001 * scale).all()
    assert (np.abs(errors.sum(axis=0)) <= 2 * scale).all()


def test_rounded_embedding_does_not_depend_on_the_pictures_beside_it(towers: Towers) -> None:
    if "int8" not in towers.formats:
        pytest.skip("a convolutional tower has none")
    images = precision.natural_pictures(9, (32, 32))
    tower = OnnxImageTower(towers.folder, "onnx-int8")
    alone = np.concatenate([tower(image[None]) for image in images])
    np.testing.assert_array_equal(tower(images), alone)


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({}, ClassTokenTransformer),
        ({"ls_init_value": 0.1, "no_ln_pre": True}, ClassTokenTransformer),
        ({"final_ln_after_pool": True, "act_layer": open_clip.transformer.QuickGELU}, ClassTokenTransformer),
        ({"pool_type": "avg"}, AnyTower),
        ({"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True}, AnyTower),
        ({"qk_norm": True}, AnyTower),
    ],
)
def test_shortcut_is_taken_only_where_it_is_the_same_function(settings: dict[str, Any], kind: type) -> None:
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        visual = VisionTransformer(
            image_size=32, patch_size=8, width=32, layers=3, heads=2, mlp_ratio=4, output_dim=16, **settings
        ).eval()
        for parameter in visual.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        images = torch.from_numpy(precision.natural_pictures(5, STANDARD.size))
        mean, std = torch.tensor(STANDARD.mean), torch.tensor(STANDARD.std)
        wanted = visual(((images / 255 - mean) / std).permute(0, 3, 1, 2))
        wanted = wanted[0] if isinstance(wanted, tuple) else wanted
        tower = exportable(visual, STANDARD)
        assert type(tower) is kind
        torch.testing.assert_close(
            tower(images), torch.nn.functional.normalize(wanted, dim=-1), atol=1e-5, rtol=0
        )


def test_what_is_fastest_is_measured_once_and_then_needs_no_torch(unmeasured: Path) -> None:
    told: list[str] = []
    encoder = opened(unmeasured, told)
    assert any("runs fastest" in sentence for sentence in told)
    home = cache.folder_of(encoder.model.fingerprint)
    assert json.loads((home / "engines.json").read_text()) == {cpu_hardware(): encoder.engine}
    # Only what was chosen stays, and nothing unfinished.
    images = {path.name for path in home.iterdir() if path.name.startswith(("image-", "."))}
    assert images <= {
        f"{cache.image_name(encoder.engine.removeprefix('onnx-'))}{suffix}" for suffix in ("", ".data")
    }

    cache.remember_engine(encoder.model.fingerprint, cpu_hardware(), "onnx-float32")
    export_image_towers(load(encoder.model.source, Listeners()), home, np.zeros((3, 32, 32, 3), np.uint8))
    code = (
        "import sys; from clipsearch.encoders import open_image_encoder, registry; import numpy as np;"
        f"encoder = open_image_encoder(registry.resolve({str(unmeasured)!r}), device='cpu');"
        "encoder.encode(np.zeros((2, 32, 32, 3), np.uint8));"
        "print(encoder.engine, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["onnx-float32", "False"]


def test_first_few_pictures_of_a_model_do_not_wait(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = registry.resolve(str(folder))
    told: list[str] = []
    listeners = Listeners(notice=told.append)
    first = open_image_encoder(source, device="cpu", pictures=3, listeners=listeners)
    assert isinstance(first, TowerEncoder)
    assert first.engine == "float32"
    assert not any("runs fastest" in sentence for sentence in told)
    second = open_image_encoder(source, device="cpu", pictures=3, listeners=listeners)
    assert any("runs fastest" in sentence for sentence in told)
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(folder / "other-cache"))
    open_image_encoder(source, device="cpu", pictures=100_000, listeners=listeners)
    assert len([sentence for sentence in told if "runs fastest" in sentence]) == 2
    images = precision.natural_pictures(3, (32, 32))
    assert (second.encode(images) * first.encode(images)).sum(axis=1).min() >= 0.999


def test_changed_weights_are_another_model(known: Path, tmp_path: Path) -> None:
    before = opened(known).model
    os.utime(known / "open_clip_model.safetensors")
    assert opened(known).model == before
    other = make_local_dir(tmp_path / "other", seed=1) / "open_clip_model.safetensors"
    other.replace(known / "open_clip_model.safetensors")
    assert opened(known, pictures=3).model.fingerprint != before.fingerprint


@pytest.mark.parametrize("harm", [pytest.param("missing", marks=pytest.mark.slow), "garbage"])
def test_damaged_tower_in_the_cache_is_made_again(known: Path, harm: str) -> None:
    encoder = opened(known)
    images = precision.natural_pictures(3, (32, 32))
    wanted = encoder.encode(images)
    fingerprint = encoder.model.fingerprint
    cache.remember_engine(fingerprint, cpu_hardware(), "onnx-float32")
    path = cache.folder_of(fingerprint) / cache.image_name("float32")
    path.unlink(missing_ok=True)
    if harm == "garbage":
        path.write_bytes(b"no graph")
    assert open_image_tower(fingerprint, "onnx-float32") is None
    again = opened(known)
    assert (again.encode(images) * wanted).sum(axis=1).min() >= 0.999
    assert cache.engine_of(fingerprint, cpu_hardware()) == again.engine


def test_only_embeddings_as_good_as_float32_are_taken(
    unmeasured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "COSINE", 1.1)
    assert opened(unmeasured).engine == "float32"


def test_as_good_means_close_and_the_same_neighbors() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(40, 64)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    assert precision.as_good(rows, rows)
    assert precision.overlap(rows, rows) == 1
    noisy = rows + 0.02 * random.normal(size=rows.shape).astype(np.float32)
    noisy /= np.linalg.norm(noisy, axis=1, keepdims=True)
    assert precision.overlap(noisy, rows) < 1
    assert not precision.as_good(noisy, rows)
    assert not precision.as_good(np.full_like(rows, np.nan), rows)


def test_batches_shrink_until_they_fit_and_one_that_never_fits_is_one_clear_line(known: Path) -> None:
    encoder = opened(known)

    class Full:
        engine, batch_size = "float32", 8

        def __call__(self, _: Any) -> Any:
            raise MemoryError

    with pytest.raises(ModelError, match="does not fit into memory"):
        TowerEncoder(encoder.model, Full()).encode(np.zeros((9, 32, 32, 3), np.uint8))
