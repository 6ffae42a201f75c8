"""What the machine itself allows: decoder, forward pass, memory, interpreter; each alone, on all cores."""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.process import Command, in_own_process, run
from clipsearch.encoders import open_image_encoder
from clipsearch.machine import usable_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from clipsearch.types import ModelSource

_SECONDS = 3.0  # a measurement
_INPUT = 256
_OUR_BATCH, _RCLIP_BATCH = 16, 8
_BUFFER_BYTES = 1 << 29  # many times any cache


def interpreter_start() -> float:
    """Seconds from nothing to a Python that does nothing, and back."""
    command = Command((sys.executable, "-c", "pass"), Path.cwd())
    return median(run(command).seconds for _ in range(5))


def read_bandwidth() -> float:
    """Bytes a second at which all cores together read memory."""
    cores = usable_cores()
    parts = np.array_split(np.ones(_BUFFER_BYTES // 8, np.int64), cores)
    with ThreadPoolExecutor(cores) as pool:

        def read() -> None:
            list(pool.map(np.max, parts))

        read()
        return _BUFFER_BYTES * _rate(read)


def walk_rate(root: Path) -> float:
    """Files a second whose size and time one thread can ask for."""

    def walk(folder: str | Path) -> int:
        files = 0
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir():
                    files += walk(entry.path)
                else:
                    entry.stat()
                    files += 1
        return files

    return walk(root) * _rate(partial(walk, root))


def decode_rate(paths: Sequence[Path], *, scaled: bool) -> float:
    """Photos a second that Pillow alone reads and decodes, a thread a core.

    Args:
        paths: The photos.
        scaled: Let the JPEG decoder reduce to the smallest size not below the model's.
    """
    from PIL import Image

    def decode(path: Path) -> None:
        with Image.open(path) as image:
            if scaled:
                image.draft("RGB", (_INPUT, _INPUT))
            image.load()

    with ThreadPoolExecutor(usable_cores()) as pool:
        list(pool.map(decode, paths))  # into the page cache
        started = time.perf_counter()
        list(pool.map(decode, paths))
        return len(paths) / (time.perf_counter() - started)


def forward_rates(model: Path, visual: Path, prepared: tuple[Path, ModelSource]) -> dict[str, float]:
    """Pictures a second through the image tower alone, all cores.

    Args:
        model: Folder of the model in OpenCLIP's hub layout.
        visual: The same tower as rclip has it.
        prepared: Cache folder and source of the same tower as clipsearch has prepared it here.

    Returns:
        By engine and number format.
    """
    rates = {f"torch {kind}": in_own_process(_torch_rate, model, kind) for kind in ("float32", "bfloat16")}
    rates["onnxruntime float32"] = in_own_process(_onnx_rate, visual)
    return rates | dict([in_own_process(_prepared_rate, *prepared)])


def _torch_rate(model: Path, kind: str) -> float:
    import open_clip
    import torch

    torch.set_num_threads(usable_cores())
    dtype = getattr(torch, kind)
    weights = str(model / "open_clip_model.safetensors")
    network = open_clip.create_model("ViT-B-32-256", pretrained=weights)
    visual = network.visual.eval().to(dtype=dtype, memory_format=torch.channels_last)
    pixels = torch.from_numpy(_pictures(_OUR_BATCH)).to(dtype, memory_format=torch.channels_last)
    with torch.inference_mode():
        return _OUR_BATCH * _rate(partial(visual, pixels))


def _onnx_rate(visual: Path) -> float:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    session = onnxruntime.InferenceSession(str(visual), options, providers=["CPUExecutionProvider"])
    return _RCLIP_BATCH * _rate(partial(session.run, None, {"input": _pictures(_RCLIP_BATCH)}))


def _prepared_rate(cache: Path, source: ModelSource) -> tuple[str, float]:
    os.environ["CLIPSEARCH_CACHE"] = str(cache)
    encoder = open_image_encoder(source)
    count = encoder.batch_size
    pictures = np.random.default_rng(0).integers(0, 256, (count, _INPUT, _INPUT, 3), np.uint8)
    rate = count * _rate(partial(encoder.encode, pictures))
    return f"clipsearch's own {encoder.engine}", rate


def _pictures(count: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((count, 3, _INPUT, _INPUT), np.float32)


def _rate(work: Callable[[], object]) -> float:
    """Calls a second, by the median call of some seconds."""
    work()
    taken: list[float] = []
    until = time.perf_counter() + _SECONDS
    while time.perf_counter() < until:
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return 1 / median(taken)
