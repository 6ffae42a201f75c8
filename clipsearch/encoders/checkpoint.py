"""A model's files on this disk: its configuration and its weights, fetched if need be.

Nothing is loaded here. Importing OpenCLIP (and with it torch) happens only for `NAME/PRETRAINED`, whose
table of sources is part of OpenCLIP's code.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipsearch.encoders import hub, registry
from clipsearch.errors import BadCheckpointError, ModelUnavailableError, UnknownModelError

if TYPE_CHECKING:
    from clipsearch.types import Listeners, ModelSource

# OpenCLIP's default names, safetensors before pickles. From open_clip.constants and open_clip.factory.
WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
)
_LOCAL_WEIGHTS = (
    *WEIGHTS,
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything that is needed to build a model, on this disk.

    Attributes:
        source: What it was made from.
        config: OpenCLIP's `model_cfg`.
        preprocessing: Overrides of OpenCLIP's `PreprocessCfg`.
        weights: The file.
        folder: Where a `local-dir:` model keeps its tokenizer; None when that comes from the hub.
    """

    source: ModelSource
    config: dict[str, Any]
    preprocessing: dict[str, Any]
    weights: Path
    folder: Path | None = None

    @property
    def files(self) -> list[Path]:
        """Whatever must stay as it is for the model to stay the same; of a folder, also its list of files."""
        folder = [] if self.folder is None else [self.folder, self.folder / registry.CONFIG_NAME]
        return [self.weights, *folder]

    def digest(self) -> str:
        """Hex SHA-256 of the weights file: about a second for 600 MB.

        Raises:
            ModelUnavailableError: A file from the hub is not what the hub said it is; it was deleted.
        """
        with self.weights.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        hub.check_cached(self.weights, digest, str(self.source))
        return digest


def locate(source: ModelSource, listeners: Listeners) -> Checkpoint:
    """Find the files of a model, downloading what is not in the cache.

    Raises:
        UnknownModelError: There is no such model.
        ModelUnavailableError: Its files are neither cached nor can be downloaded.
        BadCheckpointError: Its configuration makes no sense, or its folder holds no weights.
    """
    if source.weights is not None:
        if not source.weights.is_file():
            raise ModelUnavailableError(
                f"the checkpoint {source.weights} is not there", "bring it back, or index with another model"
            )
        config = registry.architecture_config(source.name)
        return Checkpoint(source, config, {}, source.weights)
    if source.name == "builtin":
        from clipsearch.builtin import MODEL_DIR

        return _in_folder(source, Path(MODEL_DIR))
    if source.name.startswith(registry.DIR_PREFIX):
        return _in_folder(source, Path(source.name.removeprefix(registry.DIR_PREFIX)))
    if source.name.startswith(registry.HUB_PREFIX):
        return _on_hub(source, listeners)
    return _pretrained(source, listeners)


def _in_folder(source: ModelSource, folder: Path) -> Checkpoint:
    path = folder / registry.CONFIG_NAME
    if not path.is_file():
        raise ModelUnavailableError(
            f"{path} is not there", "bring the folder back, or index with another model"
        )
    config, preprocessing = _read_config(path, source)
    present = [folder / name for name in _LOCAL_WEIGHTS if (folder / name).is_file()]
    present += sorted(
        path for kind in ("safetensors", "bin", "pth", "pt") for path in folder.glob(f"*.{kind}")
    )
    if not present:
        raise BadCheckpointError(f"{folder} holds no weights", f"put {WEIGHTS[0]} there")
    return Checkpoint(source, config, preprocessing, present[0], folder)


def _on_hub(source: ModelSource, listeners: Listeners) -> Checkpoint:
    repo = source.name.removeprefix(registry.HUB_PREFIX)
    path = hub.fetch(repo, [registry.CONFIG_NAME], model=str(source), listeners=listeners)
    config, preprocessing = _read_config(path, source)
    weights = hub.fetch(repo, WEIGHTS, model=str(source), listeners=listeners)
    return Checkpoint(source, config, preprocessing, weights)


def _pretrained(source: ModelSource, listeners: Listeners) -> Checkpoint:
    hub.quiet_hub()
    from open_clip.pretrained import get_pretrained_cfg

    architecture, _, tag = source.name.partition("/")
    published = get_pretrained_cfg(architecture, tag)
    if not published:
        raise UnknownModelError(f"unknown model {source.name!r}", "see `clipsearch models`")
    where = published.get("hf_hub")
    if not where:
        raise ModelUnavailableError(
            f"{source.name} is not on the hub",
            f"download {published.get('url')} yourself; then --model {architecture} --weights FILE",
        )
    repo, _, name = where.rpartition("/")
    names: tuple[str, ...] = WEIGHTS
    if name:
        names = (str(Path(name).with_suffix(".safetensors")), name)
    weights = hub.fetch(repo, names, model=str(source), listeners=listeners)
    return Checkpoint(source, registry.architecture_config(architecture), published, weights)


def _read_config(path: Path, source: ModelSource) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        config, preprocessing = content["model_cfg"], content.get("preprocess_cfg") or {}
        parts = config["embed_dim"], config["vision_cfg"], config["text_cfg"], preprocessing
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadCheckpointError(f"{source}: {path} is not OpenCLIP's configuration: {error!r}") from error
    if [type(part) for part in parts] != [int, dict, dict, dict]:
        raise BadCheckpointError(f"{source}: {path} is not OpenCLIP's configuration: wrong types")
    return config, preprocessing
