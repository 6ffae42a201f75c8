from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_openclip import opened
from tiny_model import make_local_dir

from clipsearch.encoders import registry
from clipsearch.encoders.openclip import load
from clipsearch.encoders.weights import architectures_like
from clipsearch.errors import BadCheckpointError
from clipsearch.types import Listeners

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Weights = dict[str, torch.Tensor]


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_local_dir(tmp_path_factory.mktemp("weights") / "tiny")


def rewritten(folder: Path, target: Path, write: Callable[[Weights, Path], object], name: str) -> Path:
    """A model's folder with its weights written in another way."""
    target.mkdir()
    (target / "open_clip_config.json").write_bytes((folder / "open_clip_config.json").read_bytes())
    write(load_file(folder / "open_clip_model.safetensors"), target / name)
    return target


def _training(weights: Weights, path: Path) -> None:
    parameter = torch.nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.AdamW([parameter])
    parameter.sum().backward()
    optimizer.step()
    wrapped = {f"module.{name}": value for name, value in weights.items()}
    state = {"epoch": 3, "name": "mine", "state_dict": wrapped, "optimizer": optimizer.state_dict()}
    torch.save({**state, "scaler": {"scale": 65536.0}}, path)


def _lightning(weights: Weights, path: Path) -> None:
    state = {f"model.{name}": value for name, value in weights.items()}
    torch.save({"state_dict": state, "global_step": 10, "pytorch-lightning_version": "2.5"}, path)


def _compiled(weights: Weights, path: Path) -> None:
    state = {f"module._orig_mod.{name}": value for name, value in weights.items()}
    torch.save({"model": state, "epoch": 1}, path)


def _custom_text(weights: Weights, path: Path) -> None:
    torch.save({**weights, "logit_scale": weights["logit_scale"].reshape(1)}, path)


@pytest.mark.parametrize("write", [save_file, torch.save, _training, _lightning, _compiled, _custom_text])
def test_every_way_to_save_a_model_gives_that_model(folder: Path, tmp_path: Path, write: Any) -> None:
    name = "epoch_3.safetensors" if write is save_file else "epoch_3.pt"
    got = opened(rewritten(folder, tmp_path / "model", write, name)).network.state_dict()
    for key, value in opened(folder).network.state_dict().items():
        torch.testing.assert_close(got[key], value, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(folder: Path, tmp_path: Path, dtype: torch.dtype) -> None:
    def halved(weights: Weights, path: Path) -> None:
        save_file({name: value.to(dtype) for name, value in weights.items()}, path)

    loaded = opened(rewritten(folder, tmp_path / "model", halved, "half.safetensors"))
    assert {value.dtype for value in loaded.network.parameters()} == {torch.float32}
    wanted = load_file(folder / "open_clip_model.safetensors")["visual.conv1.weight"]
    torch.testing.assert_close(loaded.network.visual.conv1.weight.data, wanted.to(dtype).float())


def _without(weights: Weights) -> Weights:
    return {name: value for name, value in weights.items() if not name.startswith("visual.transformer")}


def _with_more(weights: Weights) -> Weights:
    return {**weights, "head.weight": torch.zeros(2), "head.bias": torch.zeros(2)}


def _misshapen(weights: Weights) -> Weights:
    return {**weights, "ln_final.weight": torch.zeros(3), "text_projection": torch.zeros(16, 8)}


def _unmerged(weights: Weights) -> Weights:
    return {**weights, "visual.proj.lora_A": torch.zeros(2, 2)}


def _of_transformers(weights: Weights) -> Weights:
    return {f"vision_model.{name}": value for name, value in weights.items()} | {
        "logit_scale": torch.zeros(1)
    }


def _diverged(weights: Weights) -> Weights:
    return {**weights, "ln_final.bias": torch.full_like(weights["ln_final.bias"], torch.nan)}


@pytest.mark.parametrize(
    ("harm", "message", "hint"),
    [
        (_without, "of 62 weights, 24 missing (visual.transformer.resblocks.0.ln_1.weight", "architecture"),
        (_without, "and 21 more)", "architecture"),
        (_with_more, "2 unexpected (head.bias, head.weight)", "architecture"),
        (
            _misshapen,
            "2 of another shape (text_projection is 16 x 8 instead of 16 x 16, ln_final",
            "architecture",
        ),
        (_misshapen, "ln_final.weight is 3 instead of 16)", "architecture"),
        (_unmerged, "1 unexpected (visual.proj.lora_A)", "merge the LoRA layers"),
        (_of_transformers, "61 missing", "weights of transformers"),
        (_diverged, "1 weights are not finite (ln_final.bias)", "diverged"),
    ],
)
def test_what_does_not_fit_is_named_and_counted(
    folder: Path, tmp_path: Path, harm: Callable[[Weights], Weights], message: str, hint: str
) -> None:
    def write(weights: Weights, path: Path) -> None:
        save_file(harm(weights), path)

    model = rewritten(folder, tmp_path / "model", write, "mine.safetensors")
    with pytest.raises(BadCheckpointError) as caught:
        opened(model)
    assert message in caught.value.message
    assert "mine.safetensors" in caught.value.message
    assert "\n" not in caught.value.message
    assert hint in caught.value.hint


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch executed",)


def _scripted(_: Weights, path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(path))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda weights, path: torch.save({"state_dict": weights, "args": _Evil()}, path), "never run"),
        (lambda weights, path: torch.save({**weights, "logit_scale": _Evil()}, path), "never run"),
        (lambda weights, path: torch.save({**weights, "args": argparse.Namespace(lr=1)}, path), "never run"),
        (_scripted, "TorchScript"),
        (
            lambda weights, path: torch.save({**weights, "epoch": 3}, path),
            "something else than weights (epoch)",
        ),
        (lambda _, path: torch.save(torch.zeros(3), path), "holds no weights"),
        (lambda _, path: torch.save({"state_dict": {}}, path), "holds no weights"),
    ],
    ids=["evil-beside", "evil-among", "namespace", "torchscript", "flat", "tensor", "empty"],
)
def test_nothing_in_a_checkpoint_is_run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Any, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    model = rewritten(folder, tmp_path / "model", write, "mine.pt")
    with pytest.raises(BadCheckpointError) as caught:
        opened(model)
    assert message in caught.value.message
    assert not (tmp_path / "executed").exists()


def test_other_picture_sizes_are_adapted_and_said_so(folder: Path, tmp_path: Path) -> None:
    def larger(weights: Weights, path: Path) -> None:
        positions = torch.randn(1 + 6 * 6, weights["visual.positional_embedding"].shape[1])
        save_file({**weights, "visual.positional_embedding": positions}, path)

    told: list[str] = []
    model = rewritten(folder, tmp_path / "model", larger, "mine.safetensors")
    loaded = load(registry.resolve(str(model)), Listeners(notice=told.append))
    assert len(loaded.network.visual.positional_embedding) == 1 + 4 * 4
    assert [sentence for sentence in told if "position embeddings are adapted" in sentence]


def test_wrong_architecture_is_named() -> None:
    shapes: dict[str, tuple[int, ...]] = {
        "visual.conv1.weight": (768, 3, 32, 32),
        "visual.positional_embedding": (50, 768),
        "token_embedding.weight": (49408, 512),
        "text_projection": (512, 512),
    }
    shapes |= {f"visual.transformer.resblocks.{layer}.ln_1.weight": (768,) for layer in range(12)}
    shapes |= {f"transformer.resblocks.{layer}.ln_1.weight": (512,) for layer in range(12)}
    assert architectures_like(shapes) == ["ViT-B-32", "ViT-B-32-quickgelu"]
    custom = {name if name.startswith("visual.") else f"text.{name}": shape for name, shape in shapes.items()}
    assert architectures_like(custom) == ["ViT-B-32", "ViT-B-32-quickgelu"]
    del shapes["transformer.resblocks.11.ln_1.weight"]
    assert architectures_like(shapes) == []
