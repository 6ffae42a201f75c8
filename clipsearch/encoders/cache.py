"""The model cache: what text queries need of each model, in a folder named by its fingerprint.

`models/<fingerprint>/` in the user's cache folder (or in `CLIPSEARCH_CACHE`) holds `model.json`
(`clipsearch.types.Model` and tokenizer settings), `tokenizer.json`, `text.onnx` and its weights
`text.onnx.data`. It is written elsewhere and renamed, so it is whole or absent. Deleting it loses
nothing: it is made again from the model.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipsearch.encoders.tokenizer import TokenizerSettings
from clipsearch.errors import ModelError
from clipsearch.types import Model, ModelSource, Preprocessing

if TYPE_CHECKING:
    from collections.abc import Iterator

FORMAT = 1
MODEL_NAME = "model.json"
TOKENIZER_NAME = "tokenizer.json"
TEXT_NAME = "text.onnx"


@dataclass(frozen=True, slots=True)
class CachedModel:
    """What `model.json` says.

    Attributes:
        model: Its identity.
        tokenizer: How to use `tokenizer.json`.
        trims: The text tower takes rows shorter than the context length (causal attention: what
            follows the end token does not matter).
        has_text: False when the text tower could not be exported and needs torch.
    """

    model: Model
    tokenizer: TokenizerSettings
    trims: bool
    has_text: bool


def cache_root() -> Path:
    """`CLIPSEARCH_CACHE`, or the platform's cache folder for clipsearch."""
    if chosen := os.environ.get("CLIPSEARCH_CACHE"):
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("clipsearch", appauthor=False))


def folder_of(fingerprint: str) -> Path:
    """Folder of one model, there or not."""
    return cache_root() / "models" / fingerprint


def read(fingerprint: str) -> CachedModel | None:
    """The cached model, or None when there is none, a damaged one, or one of another format."""
    folder = folder_of(fingerprint)
    try:
        content = json.loads((folder / MODEL_NAME).read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            return None
        cached = CachedModel(
            model_from_json(content["model"]),
            TokenizerSettings(**content["tokenizer"]),
            trims=content["trims"],
            has_text=content["has_text"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    needed = [TOKENIZER_NAME, TEXT_NAME] if cached.has_text else [TOKENIZER_NAME]
    return cached if all((folder / name).is_file() for name in needed) else None


def write(cached: CachedModel, folder: Path) -> None:
    """Write `model.json`."""
    content = {
        "format": FORMAT,
        "model": model_to_json(cached.model),
        "tokenizer": asdict(cached.tokenizer),
        "trims": cached.trims,
        "has_text": cached.has_text,
    }
    (folder / MODEL_NAME).write_text(json.dumps(content, indent=2), encoding="utf-8")


@contextlib.contextmanager
def publishing(fingerprint: str) -> Iterator[Path]:
    """A folder to fill, which takes the model's place at the end, whole; discarded after an error.

    Raises:
        ModelError: The cache folder cannot be written.
    """
    target = folder_of(fingerprint)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=".new-", dir=target.parent))
        try:
            yield staged
            _put(staged, target)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    except OSError as error:
        hint = "free some space or set CLIPSEARCH_CACHE to a folder that can be written"
        raise ModelError(
            f"the model cache {target.parent} cannot be written: {error.strerror}", hint
        ) from error


def _put(staged: Path, target: Path) -> None:
    staged.chmod(0o755)  # mkdtemp makes it private
    kept = target / "precision.json"
    if kept.is_file():
        shutil.copy2(kept, staged)
    if target.exists():
        old = Path(tempfile.mkdtemp(prefix=".old-", dir=target.parent))
        with contextlib.suppress(FileNotFoundError):
            target.rename(old / "model")  # readers that have it open keep it
        shutil.rmtree(old, ignore_errors=True)
    try:
        staged.rename(target)
    except OSError:
        if read(target.name) is None:  # else another process has just published the same
            raise


def model_to_json(model: Model) -> dict[str, Any]:
    """Plain values for `json.dump`."""
    content = asdict(model)
    weights = model.source.weights
    content["source"]["weights"] = None if weights is None else str(weights)
    return content


def model_from_json(content: dict[str, Any]) -> Model:
    """Inverse of `model_to_json`. Raises KeyError or TypeError when it is not one."""
    preprocessing = dict(content["preprocessing"])
    for name in ("size", "mean", "std"):
        preprocessing[name] = tuple(preprocessing[name])
    weights = content["source"]["weights"]
    return Model(
        **{
            **content,
            "source": ModelSource(content["source"]["name"], None if weights is None else Path(weights)),
            "preprocessing": Preprocessing(**preprocessing),
        }
    )
