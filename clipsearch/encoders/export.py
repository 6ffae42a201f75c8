"""Exports a model's towers to ONNX, for the model cache: once per model.

The text tower is for every query. ViT-B/32's (63 M parameters) takes about 20 s here on two cores. Its
graph is optimised now, so that a query's session need not do it: 1.3 s with optimisation at load,
40-70 ms without. The image tower is for indexing on a CPU; `precision` decides whether it is used.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch

from clipsearch.encoders import cache
from clipsearch.encoders.attention import lean_attention
from clipsearch.encoders.onnx import OnnxTextEncoder
from clipsearch.encoders.openclip import embed_ids, quiet
from clipsearch.encoders.quantize import quantize
from clipsearch.encoders.runtime import onnxruntime
from clipsearch.encoders.tokenizer import Tokenizer
from clipsearch.encoders.vision import exportable
from clipsearch.encoders.vocabulary import write_tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from clipsearch.encoders.openclip import LoadedModel
    from clipsearch.types import Listeners

COSINE = 0.9999  # of every checked text to torch
_OPSET = 20
_CHECKED = (
    "",
    "a",
    "a photo of a dog",
    "two children building a sand castle on the beach at sunset, seen from above",
    "Ein rotes Auto vor einem alten Haus!",
    "café №5: 12,50 € 🍰",
    "夜の東京タワー",
    " ".join(["a very long description of a quiet street"] * 20),
)


def ensure_exported(loaded: LoadedModel, listeners: Listeners) -> cache.CachedModel:
    """Returns the model's entry in the cache, made now if it is not there.

    Raises:
        ModelError: The cache cannot be written, or the tokenizer cannot be had.
    """
    fingerprint = loaded.model.fingerprint
    cached = cache.read(fingerprint)
    if cached is not None:
        return cached
    listeners.tell(f"preparing {loaded.model.source} for text queries; this is done once per model")
    with cache.drafting() as folder:
        cached = cache.read(fingerprint)
        if cached is None:  # no other process has prepared it meanwhile
            cached = _export(loaded, folder, listeners)
            cache.publish(folder, fingerprint)
    return cached


def _export(loaded: LoadedModel, folder: Path, listeners: Listeners) -> cache.CachedModel:
    """Fill a folder with what text queries need."""
    checkpoint = loaded.checkpoint
    with cache.needing_room(folder, checkpoint.files):
        settings = write_tokenizer(
            checkpoint.config["text_cfg"],
            folder / cache.TOKENIZER_NAME,
            folder=checkpoint.folder,
            model=str(checkpoint.source),
            listeners=listeners,
        )
    ids = Tokenizer(folder / cache.TOKENIZER_NAME, settings)(_CHECKED)
    trims = _ignores_padding(loaded.network) and not settings.pad_left and settings.kind != "clips"
    has_text, problem = True, ""
    try:
        with cache.needing_room(folder, checkpoint.files):
            export_text_tower(loaded.network, folder, ids, trims=trims)
    except OSError:
        raise  # of the disk, not of the model: never remembered
    except Exception as error:  # noqa: BLE001 - any operation of any architecture may be missing in the exporter
        has_text, problem = False, f"{type(error).__name__}: {error}".splitlines()[0]
    cached = cache.CachedModel(loaded.model, settings, trims=trims, has_text=has_text)
    cache.write(cached, folder)
    if has_text:
        worst = _worst_cosine(loaded.network, OnnxTextEncoder(cached, folder), ids)
        if not worst >= COSINE:
            has_text, problem = False, f"its exported text tower differs: cosine {worst:.5f}"
    if not has_text:
        for path in folder.glob(f"{cache.TEXT_NAME}*"):
            path.unlink()
        cached = cache.CachedModel(loaded.model, settings, trims=False, has_text=False)
        cache.write(cached, folder)
        listeners.tell(
            f"text queries with {loaded.model.source} will load the whole model, which takes seconds: "
            f"it cannot be exported ({problem})"
        )
    return cached


def export_text_tower(network: Any, folder: Path, ids: NDArray[np.int64], *, trims: bool) -> None:
    """Write `text.onnx` and `text.onnx.data`: `(n, length)` int64 ids to `(n, dim)` unit rows.

    Args:
        network: OpenCLIP's model in float32 on the CPU.
        folder: Where to write.
        ids: Example rows.
        trims: Any length up to the context length is to be accepted.
    """
    # The exporter specialises sizes 0 and 1 and the whole context, so the example has none of these. The
    # graph computes with whatever size comes; `_worst_cosine` tries a row of the whole length too.
    context = ids.shape[1]
    example = torch.from_numpy(np.ascontiguousarray(ids[:3, : context * 2 // 3] if trims else ids[:3]))
    sizes = {0: torch.export.Dim("batch")}
    if trims:
        sizes[1] = torch.export.Dim("length", min=2, max=context - 1)
    with _draft(folder) as raw, lean_attention(network):
        _save(
            _TextTower(network, trims=trims).eval(),
            example,
            sizes,
            raw,
            names=("token_ids", "text_embedding"),
        )
        _optimise(raw, folder / cache.TEXT_NAME)


def export_image_towers(loaded: LoadedModel, folder: Path, images: NDArray[np.uint8]) -> list[str]:
    """Write the image tower for ONNX Runtime: `(n, height, width, 3)` bytes to `(n, dim)` unit rows.

    Args:
        loaded: In float32 on the CPU.
        folder: Where to write.
        images: Example pictures, two or more.

    Returns:
        The formats written, each under `cache.image_name`: `float32`, and `int8` for a transformer.
    """
    tower = exportable(loaded.network.visual, loaded.model.preprocessing)
    with _draft(folder) as raw:
        example = torch.from_numpy(np.ascontiguousarray(images[:3]))
        sizes = {0: torch.export.Dim("batch")}
        _save(tower, example, sizes, raw, names=("images", "image_embedding"), folds=True)
        _optimise(raw, folder / cache.image_name("float32"))
        graph = onnx.load(raw)
        if not quantize(graph):
            return ["float32"]
        smaller = raw.with_name("int8.onnx")
        onnx.save(graph, smaller, save_as_external_data=True, location="int8.onnx.data")
        _optimise(smaller, folder / cache.image_name("int8"))
    return ["float32", "int8"]


@contextlib.contextmanager
def _draft(folder: Path) -> Iterator[Path]:
    """A file for the exporter's own graph, gone afterwards."""
    with quiet(), tempfile.TemporaryDirectory(dir=folder, prefix=".raw-") as raw, torch.no_grad():
        yield Path(raw) / "raw.onnx"


def _save(
    tower: torch.nn.Module,
    example: torch.Tensor,
    sizes: dict[int, torch.export.Dim],
    path: Path,
    *,
    names: tuple[str, str],
    folds: bool = False,
) -> None:
    """Export; with `folds`, transposed weights become weights, which takes a quarter of the time more."""
    program = torch.export.export(tower, (example,), dynamic_shapes=(sizes,), strict=False)
    torch.onnx.export(
        program,
        f=str(path),
        input_names=names[:1],
        output_names=names[1:],
        opset_version=_OPSET,
        dynamo=True,
        external_data=True,
        optimize=folds,
        verbose=False,
    )


def _optimise(path: Path, target: Path) -> None:
    """Save the graph as ONNX Runtime would run it on any CPU, weights in a file of their own."""
    options = onnxruntime.SessionOptions()
    # Not ORT_ENABLE_ALL: its layouts depend on the CPU, and the cache may move to another machine.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.log_severity_level = 3
    options.optimized_model_filepath = str(target)
    options.add_session_config_entry(
        "session.optimized_model_external_initializers_file_name", f"{target.name}.data"
    )
    options.add_session_config_entry(
        "session.optimized_model_external_initializers_min_size_in_bytes", "1024"
    )
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _worst_cosine(network: Any, encoder: OnnxTextEncoder, ids: NDArray[np.int64]) -> float:
    wanted = embed_ids(network, ids)
    together = encoder.encode(_CHECKED)
    alone = np.concatenate([encoder.encode([text]) for text in _CHECKED])
    return float(min((together * wanted).sum(axis=1).min(), (alone * wanted).sum(axis=1).min()))


def _tower(network: Any) -> Any:
    """Where positional embedding and mask live: `network.text` of CustomTextCLIP, else the model itself."""
    return getattr(network, "text", network)


def _ignores_padding(network: Any) -> bool:
    """Whether tokens after the end token have no influence: causal attention, pooled at the end token."""
    tower = _tower(network)
    pooling = getattr(tower, "pool_type", None) or getattr(tower, "text_pool_type", None)
    return (
        getattr(tower, "attn_mask", None) is not None
        and getattr(tower, "cls_emb", None) is None
        and pooling in ("argmax", "eos")
    )


class _EncodeText(torch.nn.Module):
    """`encode_text` as a forward pass, the only call that `functional_call` and the exporter know."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.network.encode_text(ids)
        return found


class _TextTower(torch.nn.Module):
    """Ids to unit rows; with `trims`, positional embedding and mask are cut to the length of the rows."""

    def __init__(self, network: Any, *, trims: bool) -> None:
        super().__init__()
        self.encode = _EncodeText(network)
        self.trims = trims

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        if not self.trims:
            return torch.nn.functional.normalize(self.encode(ids), dim=-1)
        length, network = ids.shape[1], self.encode.network
        tower = _tower(network)
        prefix = "network." if tower is network else "network.text."
        shorter = {
            f"{prefix}positional_embedding": tower.positional_embedding[:length],
            f"{prefix}attn_mask": tower.attn_mask[:length, :length],
        }
        found = torch.func.functional_call(self.encode, shorter, (ids,))
        return torch.nn.functional.normalize(found, dim=-1)
