"""Names of models: what the user types to what can be loaded. No torch, no OpenCLIP import.

OpenCLIP keeps its architectures as JSON files and its pretrained tags as literals in one source
file; both are read from the installed package's folder, because importing it costs 2.6-5 s of torch.
"""

from __future__ import annotations

import ast
import difflib
import importlib.util
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from clipsearch.errors import UnknownModelError
from clipsearch.types import ModelSource

HUB_PREFIX = "hf-hub:"
DIR_PREFIX = "local-dir:"
CONFIG_NAME = "open_clip_config.json"
DEFAULT_PRESET = "default"
LATIN = "LATIN"
# Tokenizers made from English text, and so are the models that use them; None is OpenAI's own.
_ENGLISH_TOKENIZERS = (None, "timm/ViT-B-16-SigLIP", "bert-base-uncased", "roberta-base")


@dataclass(frozen=True, slots=True)
class Preset:
    """A model that clipsearch recommends.

    Attributes:
        name: What the user types.
        model: Canonical name it stands for.
        summary: What it is good for, a few words.
        languages: Of the texts it understands. SigLIP2's from Tschannen et al. 2025, section 2.
        license: SPDX identifier of the weights' licence.
        imagenet: Zero-shot top-1 accuracy on ImageNet-1k, in percent; None where OpenCLIP publishes none.
            Source: open_clip `docs/openclip_results.csv`.
        gflops: Work for one image, in 10^9 multiply-adds; None where OpenCLIP publishes none.
            Source: open_clip `docs/model_profile.csv`.
        scripts: That its texts were written in, by Unicode's names; None for whatever people write in.
    """

    name: str
    model: str
    summary: str
    languages: str
    license: str
    imagenet: float | None = None
    gflops: float | None = None
    scripts: tuple[str, ...] | None = (LATIN,)


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            "default",
            "ViT-B-32-256/datacomp_s34b_b86k",
            "fast and good: the one to start with",
            "English",
            "MIT",
            imagenet=72.8,
            gflops=11.5,
        ),
        Preset(
            "multilingual",
            "ViT-B-32-SigLIP2-256/webli",
            "queries in many languages",
            "109 languages",
            "Apache-2.0",
            scripts=None,
        ),
        Preset(
            "best",
            "ViT-B-16-SigLIP2/webli",
            "finer detail, several times slower to index",
            "109 languages",
            "Apache-2.0",
            scripts=None,
        ),
        Preset(
            "builtin",
            "builtin",
            "ships with clipsearch, no download: common objects, animals, food, clothes, simple scenes",
            "English",
            "MIT",
        ),
    )
}


def resolve(model: str, weights: Path | None = None) -> ModelSource:
    """Bring the name of a model to its canonical form, so that two sources can be compared.

    Args:
        model: A preset, `NAME/PRETRAINED`, `hf-hub:ORG/REPO`, `local-dir:FOLDER`, an existing folder
            in OpenCLIP's hub layout, or a bare architecture when `weights` is given.
        weights: A local checkpoint of that architecture.

    Raises:
        UnknownModelError: No such model (the hint names near ones), an architecture without its
            pretrained tag (the hint lists the tags), or a folder or file that is not there.
    """
    name = model.strip()
    if weights is not None:
        return _with_weights(name, weights)
    if name in PRESETS:
        return ModelSource(PRESETS[name].model)
    if name.startswith(HUB_PREFIX):
        return _hub(name)
    if name.startswith(DIR_PREFIX):
        return _folder(Path(name.removeprefix(DIR_PREFIX)))
    if name and (Path(name).expanduser() / CONFIG_NAME).is_file():
        return _folder(Path(name))
    architecture, slash, tag = name.rpartition("/")
    if slash and (found := _architecture(architecture)) is not None:
        return _with_tag(found, tag)
    if (found := _architecture(name)) is not None:
        known = pretrained_tags().get(found, ())
        hint = f"one of: {', '.join(f'{found}/{tag}' for tag in known)}" if known else "add --weights FILE"
        raise UnknownModelError(f"{found} is an architecture; say which pretrained weights", hint)
    raise _unknown(name)


def _architecture(name: str) -> str | None:
    """Canonical spelling: letter case does not matter, and `ViT-B/32` is OpenAI's spelling of `ViT-B-32`."""
    wanted = name.replace("/", "-").lower()
    return next((known for known in architectures() if known.lower() == wanted), None)


def _with_weights(name: str, weights: Path) -> ModelSource:
    path = weights.expanduser().absolute()
    architecture = _architecture(name)
    if architecture is None and name in PRESETS and "/" in PRESETS[name].model:
        architecture = PRESETS[name].model.partition("/")[0]
    if architecture is None:
        raise _unknown(name, among=architectures(), hint="with weights, name a bare architecture")
    if not path.is_file():
        raise UnknownModelError(f"no such checkpoint: {path}")
    return ModelSource(architecture, path)


def _with_tag(architecture: str, tag: str) -> ModelSource:
    cleaned = tag.lower().replace("-", "_")  # as OpenCLIP compares them
    known = pretrained_tags()
    # Where the tags could not be read, the check is left to OpenCLIP when it loads the model.
    if known and cleaned not in known.get(architecture, ()):
        near = _near(cleaned, known.get(architecture, ())) or known.get(architecture, ())
        hint = (
            f"try {', '.join(f'{architecture}/{tag}' for tag in near)}"
            if near
            else f"none are published for it; use --model {architecture} --weights FILE"
        )
        raise UnknownModelError(f"{architecture} has no pretrained weights called {tag!r}", hint)
    return ModelSource(f"{architecture}/{cleaned}")


def _hub(name: str) -> ModelSource:
    repo = name.removeprefix(HUB_PREFIX).strip("/")
    if repo.count("/") != 1 or any(character.isspace() for character in repo):
        raise UnknownModelError(f"not a hub model: {name}", "write hf-hub:ORG/REPO")
    return ModelSource(HUB_PREFIX + repo)


def _folder(folder: Path) -> ModelSource:
    path = folder.expanduser().absolute()
    if not (path / CONFIG_NAME).is_file():
        problem = "holds no" if path.is_dir() else "does not exist; expected it with its"
        raise UnknownModelError(f"{path} {problem} {CONFIG_NAME}", "name a folder in OpenCLIP's hub layout")
    return ModelSource(f"{DIR_PREFIX}{path}")


def _unknown(name: str, *, among: tuple[str, ...] | None = None, hint: str = "") -> UnknownModelError:
    if among is None:
        tagged = [f"{model}/{tag}" for model, tags in pretrained_tags().items() for tag in tags]
        among = (*PRESETS, *architectures(), *tagged)
    near = _near(name, among)
    hints = [hint, f"did you mean {', '.join(near)}?" if near else ""]
    return UnknownModelError(
        f"unknown model {name!r}",
        "; ".join(filter(None, hints)) or "see `clipsearch models` for the recommended ones",
    )


def _near(name: str, among: tuple[str, ...]) -> list[str]:
    spelled = {known.lower(): known for known in among}
    return [spelled[key] for key in difflib.get_close_matches(name.lower(), spelled, n=4, cutoff=0.6)]


def scripts_of(source: ModelSource) -> tuple[str, ...] | None:
    """Scripts of the texts that a model was trained on; None where it is all, or nobody knows."""
    preset = next((preset for preset in PRESETS.values() if preset.model == source.name), None)
    if preset is not None:
        return preset.scripts
    architecture, slash, _ = source.name.rpartition("/")
    if source.weights is not None or not slash or architecture not in architectures():
        return None  # the user's own, trained on whatever the user has
    text = architecture_config(architecture)["text_cfg"]
    name = text.get("hf_tokenizer_name") if isinstance(text, dict) else None
    return (LATIN,) if name in _ENGLISH_TOKENIZERS else None


def open_clip_folder() -> Path:
    """Folder of the installed OpenCLIP package.

    Raises:
        UnknownModelError: OpenCLIP is not installed.
    """
    spec = importlib.util.find_spec("open_clip")
    if spec is None or spec.origin is None:
        raise UnknownModelError("the package open_clip_torch is not installed", "pip install open_clip_torch")
    return Path(spec.origin).parent


@cache
def architectures() -> tuple[str, ...]:
    """Names of all architectures that the installed OpenCLIP can build, sorted."""
    return tuple(sorted(path.stem for path in (open_clip_folder() / "model_configs").glob("*.json")))


def architecture_config(name: str) -> dict[str, object]:
    """OpenCLIP's `model_cfg` of one of `architectures()`."""
    text = (open_clip_folder() / "model_configs" / f"{name}.json").read_text(encoding="utf-8")
    config: dict[str, object] = json.loads(text)
    return config


@cache
def pretrained_tags() -> dict[str, tuple[str, ...]]:
    """Pretrained tags of each architecture; empty if OpenCLIP's source no longer reads as expected.

    The table is `_PRETRAINED = {"NAME": _GROUP or dict(tag=_pcfg(...), ...)}`; tags marked
    `quick_gelu=True` exist for `NAME-quickgelu` as well.
    """
    tree = ast.parse((open_clip_folder() / "pretrained.py").read_text(encoding="utf-8"))
    assigned = {
        target.id: statement.value
        for statement in tree.body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }
    table = assigned.get("_PRETRAINED")
    if not isinstance(table, ast.Dict):
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for key, value in zip(table.keys, table.values, strict=True):
        group = assigned.get(value.id) if isinstance(value, ast.Name) else value
        if not isinstance(key, ast.Constant) or not isinstance(group, ast.Call):
            continue
        name = str(key.value)
        found[name] = tuple(keyword.arg for keyword in group.keywords if keyword.arg)
        quick = tuple(tag.arg for tag in group.keywords if tag.arg and _is_quick_gelu(tag.value))
        if quick:
            found[f"{name}-quickgelu"] = quick
    return found


def _is_quick_gelu(call: ast.expr) -> bool:
    return isinstance(call, ast.Call) and any(
        keyword.arg == "quick_gelu"
        and isinstance(keyword.value, ast.Constant)
        and keyword.value.value is True
        for keyword in call.keywords
    )
