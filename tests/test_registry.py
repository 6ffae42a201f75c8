from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from clipsearch.encoders import registry
from clipsearch.errors import UnknownModelError
from clipsearch.types import ModelSource


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "open_clip_config.json").write_text("{}")
    return tmp_path / "model"


@pytest.mark.parametrize(
    ("typed", "canonical"),
    [
        ("default", "ViT-B-32-256/datacomp_s34b_b86k"),
        ("multilingual", "ViT-B-32-SigLIP2-256/webli"),
        ("best", "ViT-B-16-SigLIP2/webli"),
        ("builtin", "builtin"),
        ("ViT-B-32-256/datacomp_s34b_b86k", "ViT-B-32-256/datacomp_s34b_b86k"),
        (" vit-b-32-256/DataComp-s34b-b86k ", "ViT-B-32-256/datacomp_s34b_b86k"),
        ("ViT-B/32/openai", "ViT-B-32/openai"),
        ("ViT-B-32-quickgelu/openai", "ViT-B-32-quickgelu/openai"),
        ("hf-hub:laion/CLIP-ViT-B-32/", "hf-hub:laion/CLIP-ViT-B-32"),
    ],
)
def test_names_become_canonical(typed: str, canonical: str) -> None:
    assert registry.resolve(typed) == ModelSource(canonical)


def test_folder_is_named_by_its_absolute_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    expected = ModelSource(f"local-dir:{folder}")
    assert registry.resolve("model") == registry.resolve("local-dir:model") == expected
    assert registry.resolve(str(folder)) == expected


def test_checkpoint_is_named_by_architecture_and_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("weights.pt").touch()
    expected = ModelSource("ViT-B-32-256", tmp_path / "weights.pt")
    assert registry.resolve("ViT-B-32-256", Path("weights.pt")) == expected
    assert registry.resolve("default", tmp_path / "weights.pt") == expected


@pytest.mark.parametrize(
    ("typed", "message", "hint"),
    [
        ("defualt", "unknown model 'defualt'", "default"),
        ("ViT-B-33", "unknown model", "ViT-B-32"),
        ("ViT-B-32-256/datacomp", "no pretrained weights called 'datacomp'", "datacomp_s34b_b86k"),
        ("ViT-B-33/openai", "unknown model", "ViT-B-32/openai"),
        ("ViT-B-32-256", "say which pretrained weights", "ViT-B-32-256/datacomp_s34b_b86k"),
        ("ViT-M-16", "say which pretrained weights", "--weights"),
        ("hf-hub:laion", "not a hub model", "hf-hub:ORG/REPO"),
        ("local-dir:/no/such/folder", "does not exist", "hub layout"),
        ("", "unknown model", "clipsearch models"),
        ("qqqqqqqq", "unknown model 'qqqqqqqq'", "clipsearch models"),
    ],
)
def test_unknown_model_says_what_is_near(typed: str, message: str, hint: str) -> None:
    with pytest.raises(UnknownModelError) as caught:
        registry.resolve(typed)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_weights_need_an_architecture_and_a_file(tmp_path: Path) -> None:
    (tmp_path / "w.pt").touch()
    with pytest.raises(UnknownModelError, match="no such checkpoint"):
        registry.resolve("ViT-B-32", tmp_path / "missing.pt")
    with pytest.raises(UnknownModelError) as caught:
        registry.resolve("ViT-B-31", tmp_path / "w.pt")
    assert "ViT-B-32" in caught.value.hint


def test_architectures_and_tags_are_those_of_open_clip() -> None:
    import open_clip

    assert set(registry.architectures()) == set(open_clip.list_models())
    listed = [(name, tag) for name, tags in registry.pretrained_tags().items() for tag in tags]
    assert sorted(listed) == sorted(open_clip.list_pretrained())


def test_every_preset_resolves() -> None:
    for name, preset in registry.PRESETS.items():
        assert registry.resolve(name) == ModelSource(preset.model)


def test_resolving_imports_neither_torch_nor_open_clip() -> None:
    code = (
        "import sys; from clipsearch.encoders import registry; registry.resolve('default');"
        "registry.resolve('ViT-B-32/openai');"
        "assert not {'torch', 'open_clip', 'numpy'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
