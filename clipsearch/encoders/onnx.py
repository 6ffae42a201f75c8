"""Embeds texts and pictures with ONNX Runtime from the model cache. Imports neither torch nor OpenCLIP."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from clipsearch.encoders import cache
from clipsearch.encoders.runtime import onnxruntime
from clipsearch.encoders.tokenizer import Tokenizer
from clipsearch.machine import cpu_name, usable_cores

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_BATCH = 32
# Pictures as large as these; of smaller ones more, so that what is done once a run or a batch stays small.
_PIXELS = 224 * 224
_IMAGES_PER_RUN = 4
_IMAGES_PER_CORE = 16  # in a batch: at its end, cores wait for the last one


class OnnxTextEncoder:
    """A `TextEncoder` on the CPU.

    Args:
        cached: The model's entry in the cache.
        folder: Its folder.
        lasting: For many queries by several threads: each takes half the time, and the weights take memory of
            their own.
    """

    def __init__(self, cached: cache.CachedModel, folder: Path, *, lasting: bool = False) -> None:
        self.model = cached.model
        self._trims = cached.trims
        options = onnxruntime.SessionOptions()
        # The saved graph is optimised already.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        # Without prepacking the weights stay pages of the mapped file, shared with other processes and
        # read only when touched. ViT-B/32: opens in 40-70 ms instead of 300, 28 MB private instead of 170.
        # With it, one text on one core takes 22 ms instead of 63, on two cores 17. More would save little,
        # and cores that spin while they have nothing to do would be missing elsewhere.
        if lasting:
            options.intra_op_num_threads = min(2, usable_cores())
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        else:
            options.add_session_config_entry("session.disable_prepacking", "1")
        options.enable_cpu_mem_arena = False
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(folder / cache.TEXT_NAME), options, providers=["CPUExecutionProvider"]
        )
        self._tokenizer = Tokenizer(folder / cache.TOKENIZER_NAME, cached.tokenizer)
        self._pad = cached.tokenizer.pad

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Returns `(n, dim)` float32 unit rows; texts longer than the context length are cut."""
        rows = np.empty((len(texts), self.model.dim), np.float32)
        if not len(texts):
            return rows
        ids = self._tokenizer(texts)
        # Rows of like length share a batch, which is as long as its longest.
        lengths = self._lengths(ids)
        order = np.argsort(lengths, kind="stable")
        for start in range(0, len(order), _BATCH):
            batch = order[start : start + _BATCH]
            shortened = np.ascontiguousarray(ids[batch, : lengths[batch[-1]]])
            rows[batch] = self._session.run(None, {"token_ids": shortened})[0]
        return rows

    def _lengths(self, ids: NDArray[np.int64]) -> NDArray[np.intp]:
        """How much of each row must be computed.

        Where attention is causal, nothing after the end token matters. ViT-B/32, a query of ten words:
        70 ms instead of 260 on two busy cores.
        """
        whole = ids.shape[1]
        if not self._trims:
            return np.full(len(ids), whole)
        padding = np.argmax((ids != self._pad)[:, ::-1], axis=1)
        lengths: NDArray[np.intp] = np.maximum(whole - padding, 2)
        return lengths


class OnnxImageTower:
    """An image tower on all cores of the CPU. An `ImageTower`.

    Each core computes pictures of its own: nothing waits at the end of every operation, as it would with
    all cores on one picture (ViT-B/32 in 8 bits on two cores: 24.5 pictures a second instead of 20).

    Args:
        folder: Where its graph lies.
        engine: `onnx-float32` or `onnx-int8`.
    """

    def __init__(self, folder: Path, engine: str) -> None:
        self.engine = engine
        self.path = folder / cache.image_name(engine.removeprefix("onnx-"))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(self.path), options, providers=["CPUExecutionProvider"]
        )
        cores = usable_cores()
        _, height, width, _ = self._session.get_inputs()[0].shape
        smaller = max(1, _PIXELS // (height * width))
        self.batch_size = smaller * _IMAGES_PER_CORE * cores
        # In 8 bits all that is computed in one run shares its scales.
        self._run_size = 1 if engine == "onnx-int8" else smaller * _IMAGES_PER_RUN
        self._threads = ThreadPoolExecutor(cores, thread_name_prefix="embed")

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `ImageTower`."""
        parts = [images[start : start + self._run_size] for start in range(0, len(images), self._run_size)]
        return np.concatenate(list(self._threads.map(self._run, parts)))

    def _run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        rows: NDArray[np.float32] = self._session.run(None, {"images": images})[0]
        return rows


def open_image_tower(fingerprint: str, engine: str) -> OnnxImageTower | None:
    """A tower from the model cache, None when it is not there or damaged."""
    try:
        return OnnxImageTower(cache.folder_of(fingerprint), engine)
    except Exception:  # noqa: BLE001 - onnxruntime's errors have no common base
        return None


def cpu_hardware() -> str:
    """The CPU and the versions that a measurement of engines holds for."""
    from importlib.metadata import version

    return f"cpu / {cpu_name()} / onnxruntime {onnxruntime.__version__} / torch {version('torch')}"
