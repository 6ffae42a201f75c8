"""The model cache: what text queries need of each model, in a folder named by its fingerprint.

`models/<fingerprint>/` in the user's cache folder (or in `CLIPSEARCH_CACHE`) holds `model.json`
(`clipsearch.types.Model` and tokenizer settings), `tokenizer.json`, `text.onnx` and its weights
`text.onnx.data`. It is written elsewhere and renamed, so it is whole or absent. Where the CPU embeds
pictures fastest with ONNX Runtime, `image-FORMAT.onnx` joins it, and `engines.json` says what is fastest
on which hardware. `sha256.json` has a hash of every file, for `clipsearch doctor`: queries map these files
and read little of them. `models/checkpoints.json` knows which files were found to be which model.
Deleting any of it loses nothing: it is made again from the model.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipsearch.errors import ModelError
from clipsearch.types import Model, ModelSource, Preprocessing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from clipsearch.encoders.tokenizer import TokenizerSettings

FORMAT = 1
MODEL_NAME = "model.json"
TOKENIZER_NAME = "tokenizer.json"
TEXT_NAME = "text.onnx"
_ENGINES_NAME = "engines.json"
_HASHES_NAME = "sha256.json"
_CHECKPOINTS_NAME = "checkpoints.json"
_LOCK_NAME = ".lock"
_DRAFT = ".new-"
_OPEN_CLIP = "open_clip"


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
    from clipsearch.encoders.tokenizer import TokenizerSettings

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


def prepared() -> list[tuple[ModelSource, bool, int]]:
    """Of each cached model its source, whether its text tower is exported, and bytes; by name."""
    found = []
    for path in (cache_root() / "models").glob(f"[!.]*/{MODEL_NAME}"):
        content = _read_json(path)
        if content.get("format") == FORMAT:
            source = content["model"]["source"]
            held = sum(file.stat().st_size for file in path.parent.iterdir())
            found.append((_source(source), bool(content["has_text"]), held))
    return sorted(found, key=lambda one: str(one[0]))


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
def drafting() -> Iterator[Path]:
    """An empty folder in the cache, gone at the end unless it was published.

    One process at a time has one: others wait, and then often find what they wanted. So any other such
    folder is of a process that was killed, and is removed.

    Raises:
        ModelError: The cache folder cannot be written.
    """
    from filelock import FileLock

    models = cache_root() / "models"
    try:
        models.mkdir(parents=True, exist_ok=True)
        with FileLock(models / _LOCK_NAME):
            for left in models.glob(f"{_DRAFT}*"):
                shutil.rmtree(left, ignore_errors=True)
            draft = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=models))
            try:
                yield draft
            finally:
                shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        hint = "free some space or set CLIPSEARCH_CACHE to a folder that can be written"
        reason = (error.strerror or str(error)).lower()
        raise ModelError(f"the model cache {models} cannot be written: {reason}", hint) from error


@contextlib.contextmanager
def needing_room(draft: Path, files: Iterable[Path]) -> Iterator[None]:
    """Blame the disk for what fails while it has no room for these files, twice: exporters disguise it.

    Raises:
        OSError: It is full.
    """
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        if shutil.disk_usage(draft).free < 2 * sum(path.stat().st_size for path in files):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise


def publish(draft: Path, fingerprint: str) -> None:
    """Let a filled draft take the model's place, whole.

    Raises:
        OSError: The cache folder cannot be written.
    """
    target = folder_of(fingerprint)
    seal(draft)
    draft.chmod(0o755)  # it was made private
    if target.exists():  # damaged; readers that have its files open keep them
        target.rename(Path(tempfile.mkdtemp(prefix=_DRAFT, dir=target.parent)) / "damaged")
    draft.rename(target)


def seal(folder: Path) -> None:
    """Note what each file of a model's folder is now, for `damaged_files`."""
    files = {path.name: _hash(path) for path in sorted(folder.iterdir()) if path.is_file()}
    for changing in (_ENGINES_NAME, _HASHES_NAME):
        files.pop(changing, None)
    (folder / _HASHES_NAME).write_text(json.dumps(files, indent=2), encoding="utf-8")


def damaged_files(fingerprint: str) -> tuple[int, list[Path]]:
    """Hold a model's folder against its hashes.

    Returns:
        How many files have one, none where an older version exported the model; those that are not
        what they were, or are gone.
    """
    folder = folder_of(fingerprint)
    hashes = _read_json(folder / _HASHES_NAME)
    return len(hashes), [folder / name for name, known in hashes.items() if _hash(folder / name) != known]


def _hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"unreadable: {error}"


def discard(fingerprint: str) -> None:
    """Remove a model from the cache; it is made again when it is needed."""
    shutil.rmtree(folder_of(fingerprint), ignore_errors=True)


def image_name(number_format: str) -> str:
    """File name of an exported image tower."""
    return f"image-{number_format}.onnx"


def engine_of(fingerprint: str, hardware: str) -> str | None:
    """What embeds a model's pictures fastest on some hardware, None when nobody has measured it."""
    found = _read_json(folder_of(fingerprint) / _ENGINES_NAME).get(hardware)
    return found if isinstance(found, str) else None


def remember_engine(fingerprint: str, hardware: str, engine: str) -> None:
    """For `engine_of`; where nothing can be written, it is measured again next time."""
    _write_json(folder_of(fingerprint) / _ENGINES_NAME, hardware, engine)


def known_model(source: ModelSource) -> str | None:
    """Fingerprint of the model a source was last found to be, None when its files have changed since.

    The files are compared by size and time, not read.
    """
    found: Any = _read_json(cache_root() / "models" / _CHECKPOINTS_NAME).get(str(source))
    try:
        files, fingerprint = found["files"], str(found["fingerprint"])
        return fingerprint if files == _states(path for path, *_ in files) else None
    except (KeyError, TypeError, ValueError, OSError):
        return None


def remember_model(source: ModelSource, files: Sequence[Path], fingerprint: str) -> None:
    """For `known_model`.

    Args:
        source: What names the files.
        files: All that decides about the model.
        fingerprint: The model's.
    """
    with contextlib.suppress(OSError):
        content = {"files": _states(map(str, files)), "fingerprint": fingerprint}
        _write_json(cache_root() / "models" / _CHECKPOINTS_NAME, str(source), content)


def _states(paths: Iterable[str]) -> list[list[Any]]:
    from importlib.metadata import version

    states = [(path, Path(path).stat()) for path in paths if path != _OPEN_CLIP]
    # OpenCLIP fills in what a configuration leaves open.
    return [[_OPEN_CLIP, version("open_clip_torch"), 0]] + [
        [path, state.st_size, state.st_mtime_ns] for path, state in states
    ]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write_json(path: Path, key: str, value: Any) -> None:
    content = json.dumps({**_read_json(path), key: value}, indent=2)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        try:
            temporary.write_text(content, encoding="utf-8")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


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
    return Model(
        **{
            **content,
            "source": _source(content["source"]),
            "preprocessing": Preprocessing(**preprocessing),
        }
    )


def _source(content: dict[str, Any]) -> ModelSource:
    weights = content["weights"]
    return ModelSource(content["name"], None if weights is None else Path(weights))
