"""Loads a model with OpenCLIP and embeds with torch. Importing this module takes seconds.

Its neighbours `precision` and `export` are torch's other users; all three are imported only where a
model must be loaded.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import logging
import math
import tempfile
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clipsearch.encoders import hub
from clipsearch.encoders.checkpoint import locate
from clipsearch.errors import BadCheckpointError, ModelError, UsageError
from clipsearch.types import Model, Preprocessing

hub.quiet_hub()
import open_clip  # noqa: E402 - imports huggingface_hub, which must be quiet by then
import torch  # noqa: E402
from open_clip.transform import PreprocessCfg, merge_preprocess_dict  # noqa: E402

from clipsearch.encoders.vision import features, normalization  # noqa: E402
from clipsearch.encoders.weights import load_weights, one_line  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from clipsearch.encoders.checkpoint import Checkpoint
    from clipsearch.encoders.tokenizer import Tokenizer
    from clipsearch.types import Listeners, ModelSource

# CPU: ViT-B/32-256 takes 174, 164, 155, 167 ms of one core for a picture in batches of 4, 8, 16, 32.
# GPU: halved when memory runs out.
_BATCH_SIZES = {"cpu": 16, "mps": 64, "cuda": 512}
_TEXT_BATCH = 64
_HF_CONFIG = "config.json"


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A whole model on the CPU in float32, ready for export or for its image tower to be moved.

    Attributes:
        model: Its identity.
        network: OpenCLIP's module, in evaluation mode.
        checkpoint: Its files.
    """

    model: Model
    network: Any
    checkpoint: Checkpoint


def load(source: ModelSource, listeners: Listeners) -> LoadedModel:
    """Fetch, build and load a model.

    Raises:
        UnknownModelError: There is no such model.
        ModelUnavailableError: Its files are neither cached nor can be downloaded.
        BadCheckpointError: The weights are damaged, hold code, or do not fit the architecture.
    """
    checkpoint = locate(source, listeners)
    digest = checkpoint.digest()
    with quiet():
        network = _build(checkpoint, listeners)
        load_weights(network, checkpoint.weights, source=source.name, listeners=listeners)
        preprocessing = _preprocessing(network, checkpoint.preprocessing)
    # Everything that decides about an embedding. The source does not: the same weights from the hub
    # and from a folder are one model.
    identity = {
        "architecture": checkpoint.config,
        "preprocessing": asdict(preprocessing),
        "weights": digest,
    }
    described = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    bias = getattr(network, "logit_bias", None)
    model = Model(
        source=source,
        fingerprint=hashlib.sha256(described.encode()).hexdigest(),
        dim=int(checkpoint.config["embed_dim"]),
        logit_scale=math.exp(float(network.logit_scale.detach())),
        logit_bias=None if bias is None else float(bias.detach()),
        preprocessing=preprocessing,
    )
    return LoadedModel(model, network, checkpoint)


def _build(checkpoint: Checkpoint, listeners: Listeners) -> Any:
    """The module with random weights. Nothing is downloaded but the configuration of a text tower."""
    config = json.loads(json.dumps(checkpoint.config))
    text: dict[str, Any] = config["text_cfg"]
    source = str(checkpoint.source)
    described = _text_tower(checkpoint, listeners)
    vision = config["vision_cfg"]
    if name := vision.get("timm_model_name"):
        if ":" in str(name):  # timm would look for it on a hub or disk by itself
            raise BadCheckpointError(f"{source}: its image tower {name!r} is not one of timm's own")
        vision["timm_model_pretrained"] = False
    custom_text = config.pop("custom_text", False) or described is not None
    kind = open_clip.CoCa if "multimodal_cfg" in config else open_clip.CustomTextCLIP
    try:
        with tempfile.TemporaryDirectory() as folder:
            if described is not None:
                (Path(folder) / _HF_CONFIG).write_text(json.dumps(described), encoding="utf-8")
                text |= {"hf_model_name": folder, "hf_model_pretrained": False}
            network = (kind if custom_text else open_clip.CLIP)(**config)
    except ImportError as error:
        raise ModelError(f"{source} needs a package that is missing: {error}") from error
    except Exception as error:  # a constructor may stumble over any wrong value
        raise BadCheckpointError(f"{source}: its configuration cannot be built: {one_line(error)}") from error
    return network.eval().requires_grad_(requires_grad=False)


def _text_tower(checkpoint: Checkpoint, listeners: Listeners) -> dict[str, Any] | None:
    """Configuration of a text tower that transformers builds, None for one of OpenCLIP's own."""
    name = checkpoint.config["text_cfg"].get("hf_model_name")
    if not name:
        return None
    source = str(checkpoint.source)
    path = None if checkpoint.folder is None else checkpoint.folder / _HF_CONFIG
    if path is None or not path.is_file():
        path = hub.fetch(name, [_HF_CONFIG], model=source, listeners=listeners)
    try:
        described: dict[str, Any] = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise BadCheckpointError(f"{source}: {path} is no configuration of a text tower") from error
    # Names Python files beside it. transformers would offer to run them.
    described.pop("auto_map", None)
    return described


def _preprocessing(network: Any, overrides: dict[str, Any]) -> Preprocessing:
    found = merge_preprocess_dict(PreprocessCfg(), overrides)
    height, width = _pair(getattr(network.visual, "image_size", None) or found["size"], 2)
    mean, std = _pair(found["mean"], 3), _pair(found["std"], 3)
    return Preprocessing(
        size=(int(height), int(width)),
        mean=(float(mean[0]), float(mean[1]), float(mean[2])),
        std=(float(std[0]), float(std[1]), float(std[2])),
        resize_mode=found["resize_mode"] or "shortest",
        # As in open_clip.transform: anything but bilinear means bicubic.
        interpolation="bilinear" if found["interpolation"] == "bilinear" else "bicubic",
        fill_color=int(found["fill_color"] or 0),
    )


def _pair(value: Any, length: int) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (list, tuple)) else (value,) * length


class TorchTower:
    """An image tower on its device in one number format. An `ImageTower`.

    Args:
        loaded: From `load`; its image tower is copied.
        device: Where it runs.
        dtype: Of weights and activations.
    """

    def __init__(self, loaded: LoadedModel, device: torch.device, dtype: torch.dtype) -> None:
        self.engine = str(dtype).removeprefix("torch.")
        self.batch_size = _BATCH_SIZES[device.type]
        self._device, self._dtype = device, dtype
        # NHWC bytes seen as NCHW are already in this layout.
        self._visual = copy.deepcopy(loaded.network.visual).to(
            device=device, dtype=dtype, memory_format=torch.channels_last
        )
        scale, offset = normalization(loaded.model.preprocessing)
        self._scale, self._offset = (part.view(1, 3, 1, 1).to(device) for part in (scale, offset))

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `ImageTower`."""
        try:
            with torch.inference_mode():
                # Bytes travel, floats do not: a quarter of the transfer.
                raw = torch.from_numpy(np.ascontiguousarray(images)).to(self._device)
                pixels = raw.permute(0, 3, 1, 2).float().mul_(self._scale).add_(self._offset)
                found = features(self._visual, pixels.to(self._dtype)).float()
                rows: NDArray[np.float32] = torch.nn.functional.normalize(found, dim=-1).cpu().numpy()
        except torch.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            raise MemoryError from error
        return rows


class TorchTextEncoder:
    """Embeds texts with torch, for the few towers that cannot be exported. A `TextEncoder`."""

    def __init__(self, loaded: LoadedModel, tokenizer: Tokenizer) -> None:
        self.model = loaded.model
        self._network = loaded.network
        self._tokenizer = tokenizer

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Returns `(n, dim)` float32 unit rows."""
        ids = self._tokenizer(texts)
        return np.concatenate(
            [np.empty((0, self.model.dim), np.float32)]
            + [
                embed_ids(self._network, ids[start : start + _TEXT_BATCH])
                for start in range(0, len(ids), _TEXT_BATCH)
            ]
        )


def embed_ids(network: Any, ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """OpenCLIP's own text embeddings in float32 on the CPU, `(n, dim)` unit rows."""
    with torch.inference_mode():
        found = network.encode_text(torch.from_numpy(ids), normalize=True)
    rows: NDArray[np.float32] = found.float().numpy()
    return rows


def choose_device(name: str) -> torch.device:
    """The device for a name. Raises UsageError when it is not available, naming those that are."""
    available = [
        *(["cuda"] if torch.cuda.is_available() else []),
        *(["mps"] if torch.backends.mps.is_available() else []),
        "cpu",
    ]
    if name == "auto":
        return torch.device(available[0])
    if name not in available:
        raise UsageError(f"device {name} is not available here", f"there is: auto, {', '.join(available)}")
    return torch.device(name)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the log lines and warnings of torch, timm and OpenCLIP off the user's terminal."""
    # OpenCLIP logs through logging.warning(), which installs a handler on a bare root logger.
    handler = logging.NullHandler()
    before = logging.root.manager.disable
    logging.root.addHandler(handler)
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
        logging.root.removeHandler(handler)
