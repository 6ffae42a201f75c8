"""Weights from a checkpoint into a network, once it is known that they fit. Nothing in a file is run."""

from __future__ import annotations

import pickle
import textwrap
from typing import TYPE_CHECKING, Any

import torch
from open_clip import factory

from clipsearch.encoders import registry
from clipsearch.errors import BadCheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from clipsearch.types import Listeners

_BIG_VISION = (".npz", ".npy")
# Where training programs keep a model's weights among optimizer, epoch and settings.
_CONTAINERS = ("state_dict", "model_state_dict", "model")
# What DistributedDataParallel, torch.compile and Lightning put before every name.
_PREFIXES = ("module.", "_orig_mod.", "model.")
_POSITIONS = ("visual.positional_embedding", "positional_embedding", "text.positional_embedding")
_SHOWN = 3


def load_weights(network: Any, path: Path, *, source: str, listeners: Listeners) -> None:
    """Fill a network.

    A checkpoint of training is understood as well: whatever lies beside the weights is left alone. Half
    precision becomes float32. Position embeddings of other picture sizes are interpolated, as OpenCLIP does.

    Args:
        network: OpenCLIP's module, in float32.
        path: `.safetensors`, a pickle of any name, or big_vision's `.npz`.
        source: What the user asked for, for messages.
        listeners: Told when position embeddings are interpolated.

    Raises:
        BadCheckpointError: The file is damaged, holds code, does not fit, or has values that are no numbers.
    """
    try:
        if path.suffix in _BIG_VISION:
            factory.load_checkpoint(network, str(path), weights_only=True)
            return
        weights = _as_open_clip(network, _unwrapped(_read(path), path))
        _check(network, weights, path, source)
        if any(name in weights and len(weights[name]) != len(own) for name, own in _positions(network)):
            listeners.tell(f"{path} is of pictures or texts of another size; position embeddings are adapted")
        factory.resize_pos_embed(weights, network)
        factory.resize_text_pos_embed(weights, network)
        network.load_state_dict(weights)
    except (MemoryError, BadCheckpointError):
        raise
    except Exception as error:  # whatever a damaged file makes of its reader
        raise BadCheckpointError(f"{path} is not a usable checkpoint: {one_line(error)}") from error


def one_line(error: Exception) -> str:
    """What an error says, short enough for a message."""
    text = " ".join(str(error).split()) or type(error).__name__
    return textwrap.shorten(text, 160, placeholder=" ...")


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        problem = "is damaged"
        if "unsupported" in str(error).lower():
            problem = "holds more than weights, and code in a checkpoint is never run"
        raise BadCheckpointError(f"{path} {problem}", "save it as safetensors") from error
    except RuntimeError as error:
        if "TorchScript" not in str(error):
            raise
        raise BadCheckpointError(
            f"{path} is a TorchScript archive, and code in a checkpoint is never run",
            "save its state_dict as safetensors; OpenAI's models are there as --model ViT-B-32/openai",
        ) from error


def _unwrapped(content: Any, path: Path) -> dict[str, torch.Tensor]:
    """The weights by name, without what training has put around them."""
    if isinstance(content, dict):
        content = next((content[key] for key in _CONTAINERS if isinstance(content.get(key), dict)), content)
    if not isinstance(content, dict) or not content:
        raise BadCheckpointError(f"{path} is not a usable checkpoint: it holds no weights")
    others = [str(name) for name, value in content.items() if not isinstance(value, torch.Tensor)]
    if others:
        raise BadCheckpointError(
            f"{path} is not a usable checkpoint: it holds something else than weights ({_some(others)})"
        )
    while prefix := next((one for one in _PREFIXES if all(name.startswith(one) for name in content)), None):
        content = {name.removeprefix(prefix): value for name, value in content.items()}
    return dict(content)


def _as_open_clip(network: Any, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Names and forms that OpenCLIP has now, from those that it or others had; see its `load_checkpoint`."""
    weights = factory.convert_state_dict(network, weights)
    if "positional_embedding" in weights and not hasattr(network, "positional_embedding"):
        weights = factory.convert_to_custom_text_state_dict(weights)
    for name in ("logit_scale", "logit_bias"):  # a scalar or a vector of one
        own = getattr(network, name, None)
        if own is not None and name in weights and weights[name].numel() == 1:
            weights[name] = weights[name].reshape(own.shape)
    if getattr(network, "logit_bias", None) is not None and "logit_scale" in weights:
        weights.setdefault("logit_bias", torch.zeros_like(weights["logit_scale"]))
    weights.pop("text.transformer.embeddings.position_ids", None)  # not since transformers 4.31
    return weights


def _positions(network: Any) -> list[tuple[str, torch.Tensor]]:
    own = network.state_dict()
    return [(name, own[name]) for name in _POSITIONS if name in own]


def _check(network: Any, weights: Mapping[str, torch.Tensor], path: Path, source: str) -> None:
    """See that all weights are there, that none is left over, and that they have their shapes."""
    own = network.state_dict()
    missing = [name for name in own if name not in weights]
    left_over = [name for name in weights if name not in own]
    misshapen = [
        f"{name} is {_shape(weights[name])} instead of {_shape(value)}"
        for name, value in own.items()
        if name in weights and not _fits(name, weights[name], value)
    ]
    found = [
        (missing, "missing"),
        (left_over, "unexpected"),
        (misshapen, "of another shape"),
    ]
    problems = [f"{len(names)} {what} ({_some(names)})" for names, what in found if names]
    if problems:
        raise BadCheckpointError(
            f"{path} does not fit the architecture of {source}: of {len(own)} weights, {', '.join(problems)}",
            _remedy(weights),
        )
    broken = [name for name, value in weights.items() if not torch.isfinite(value).all()]
    if broken:
        raise BadCheckpointError(
            f"{path} is not a usable checkpoint: {len(broken)} weights are not finite ({_some(broken)})",
            "its training has diverged; take an earlier one",
        )


def _fits(name: str, found: torch.Tensor, own: torch.Tensor) -> bool:
    if name in _POSITIONS:  # of any length
        return found.ndim == own.ndim and found.shape[-1] == own.shape[-1]
    return found.shape == own.shape


def _remedy(weights: Mapping[str, torch.Tensor]) -> str:
    if any("lora_" in name for name in weights):
        return "merge the LoRA layers into the weights first"
    if any(name.startswith(("vision_model.", "clip.vision_model.")) for name in weights):
        return "these are weights of transformers; convert them to OpenCLIP's names"
    if alike := architectures_like({name: tuple(value.shape) for name, value in weights.items()}):
        return f"its shapes are those of {' or '.join(alike)}: --model {alike[0]} --weights FILE"
    return "name the architecture that it was trained with"


def architectures_like(shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """The architectures that weights may be of: those of a plain ViT and CLIP's text tower.

    Args:
        shapes: Of the weights, by OpenCLIP's names.
    """
    shapes = {name.removeprefix("text."): shape for name, shape in shapes.items()}
    alike = []
    for name in registry.architectures():
        config: dict[str, Any] = registry.architecture_config(name)
        vision, text = config["vision_cfg"], config["text_cfg"]
        others = "timm_model_name" in vision or "hf_model_name" in text or "multimodal_cfg" in config
        if others or not isinstance(vision["layers"], int):
            continue
        size, patch = vision["image_size"], vision["patch_size"]
        wanted = {
            "visual.conv1.weight": (vision["width"], 3, patch, patch),
            "visual.positional_embedding": ((size // patch) ** 2 + 1, vision["width"]),
            "token_embedding.weight": (text["vocab_size"], text["width"]),
            "text_projection": (text["width"], config["embed_dim"]),
        }
        layers = (
            (_layers(shapes, "visual.transformer.resblocks."), vision["layers"]),
            (_layers(shapes, "transformer.resblocks."), text["layers"]),
        )
        if all(shapes.get(key) == shape for key, shape in wanted.items()) and all(a == b for a, b in layers):
            alike.append(name)
    return alike


def _layers(shapes: Iterable[str], prefix: str) -> int:
    return len({name.removeprefix(prefix).partition(".")[0] for name in shapes if name.startswith(prefix)})


def _shape(tensor: torch.Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a number"


def _some(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
