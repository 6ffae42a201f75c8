"""Which engine and number format runs the image tower fastest here, without harm to the embeddings.

No processor's best is another's. ViT-B/32, pictures a second on two cores: with BF16 instructions torch's
float32 21, ONNX Runtime's float32 44, its int8 84, torch's bfloat16 75; without them (AVX2) 14, 14, 25
and 2. So each is tried for a moment and held against float32, and the choice is remembered in the model
cache for this device and these versions.
"""

from __future__ import annotations

import platform
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import numpy as np
import torch

from clipsearch.encoders import cache
from clipsearch.encoders.export import export_image_towers
from clipsearch.encoders.onnx import OnnxImageTower, cpu_hardware, open_image_tower
from clipsearch.encoders.openclip import TorchTower, quiet
from clipsearch.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from clipsearch.encoders.images import ImageTower
    from clipsearch.encoders.openclip import LoadedModel
    from clipsearch.types import Listeners

# To float32, for every picture tried. The promise is 0.999 for every photo; the worst of thousands is
# farther off than the worst of a few.
COSINE = 0.9995
# Share of each picture's ten nearest that must stay the same.
OVERLAP = 0.98
# A tower without torch is ready seconds earlier, in every run, and float32 is exact: a rate this much
# lower is worth either.
_WORTH = 0.9
# x86 without AVX-512 has no BF16 instructions: emulated, it can only be slower.
_EMULATING = ("AVX2", "NO AVX")
_PICTURES = 32
_TIMED = 8
_SECONDS, _PASSES = 0.3, 2  # for each candidate, at least


def fastest_tower(loaded: LoadedModel, device: torch.device, listeners: Listeners) -> ImageTower:
    """The fastest tower whose embeddings are as good as those in float32: remembered, or measured now."""
    fingerprint, hardware = loaded.model.fingerprint, hardware_name(device)
    engine = cache.engine_of(fingerprint, hardware)
    if engine in ("float32", *map(_name, formats(device))):
        return TorchTower(loaded, device, getattr(torch, engine))
    if engine is not None and device.type == "cpu" and (prepared := open_image_tower(fingerprint, engine)):
        return prepared
    listeners.tell(f"trying how {loaded.model.source} runs fastest here; this is done once per model")
    folder = cache.folder_of(fingerprint)
    with quiet(), ExitStack() as stack:
        draft = None
        with suppress(ModelError):  # where the cache cannot be written, there is torch
            draft = stack.enter_context(cache.drafting())
        tower = _fastest(loaded, device, draft)
        if isinstance(tower, OnnxImageTower) and draft is not None:
            for path in draft.glob(f"{tower.path.name}*"):
                path.replace(folder / path.name)
            with suppress(OSError):
                cache.seal(folder)
            tower = open_image_tower(fingerprint, tower.engine) or tower
    cache.remember_engine(fingerprint, hardware, tower.engine)
    return tower


def exact_tower(loaded: LoadedModel, device: torch.device) -> ImageTower:
    """The tower as OpenCLIP computes it, ready at once."""
    return TorchTower(loaded, device, torch.float32)


def hardware_name(device: torch.device) -> str:
    """Device and versions that a measurement holds for."""
    if device.type == "cpu":
        return cpu_hardware()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return f"{device.type} / {name} / torch {torch.__version__}"


def formats(device: torch.device) -> tuple[torch.dtype, ...]:
    """Number formats that torch may compute faster in than in float32 on a device."""
    if device.type == "cuda":
        return torch.bfloat16, torch.float16
    if device.type == "mps":
        return (torch.float16,)
    return () if torch.backends.cpu.get_cpu_capability() in _EMULATING else (torch.bfloat16,)


def as_good(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> bool:
    """Whether embeddings of pictures, `(n, dim)` unit rows, would find what those in float32 find."""
    # NaN, from an overflow in float16, compares false.
    return bool((found * wanted).sum(axis=1).min() >= COSINE) and overlap(found, wanted) >= OVERLAP


def overlap(found: NDArray[np.float32], wanted: NDArray[np.float32], k: int = 10) -> float:
    """Share of the k nearest of each row that are the same in both, `(n, dim)` unit rows."""

    def nearest(rows: NDArray[np.float32]) -> NDArray[np.intp]:
        scores = rows @ rows.T
        np.fill_diagonal(scores, -np.inf)
        return np.argsort(-scores, axis=1, kind="stable")[:, :k]

    pairs = zip(nearest(found), nearest(wanted), strict=True)
    return float(np.mean([len(np.intersect1d(one, other)) / k for one, other in pairs]))


def natural_pictures(count: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """`(count, height, width, 3)` pictures whose power falls as 1/f^2, as that of photographs does.

    The law is from Field, "Relations between the statistics of natural images and the response
    properties of cortical cells", 1987.
    """
    random = np.random.default_rng(0)
    height, width = size
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    frequency[0, 0] = np.inf
    spectrum = random.normal(size=(count, 3, height, width)) + 1j * random.normal(
        size=(count, 3, height, width)
    )
    # Neighboring colors go together: most of each channel is shared.
    spectrum = 0.3 * spectrum + 0.7 * spectrum[:, :1]
    waves = np.fft.ifft2(spectrum / frequency).real
    waves /= waves.std(axis=(2, 3), keepdims=True)
    level = random.uniform(30, 220, size=(count, 3, 1, 1))
    contrast = np.geomspace(4, 80, count)[:, None, None, None]  # from a foggy sky to a backlit street
    pixels: NDArray[np.uint8] = (waves * contrast + level).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))


def _fastest(loaded: LoadedModel, device: torch.device, draft: Path | None) -> ImageTower:
    pictures = natural_pictures(_PICTURES, loaded.model.preprocessing.size)
    best = exact_tower(loaded, device)
    wanted = best(pictures)
    least = _seconds(best, pictures[:_TIMED])
    for tower in _candidates(loaded, device, draft, pictures):
        try:
            good = as_good(tower(pictures), wanted)
        except (RuntimeError, NotImplementedError, TypeError, MemoryError):
            continue  # an operation of this architecture does not exist in this format
        took = _seconds(tower, pictures[:_TIMED]) if good else float("inf")
        if isinstance(tower, OnnxImageTower) and not isinstance(best, OnnxImageTower):
            took *= _WORTH
        if not tower.engine.endswith("float32"):
            took /= _WORTH
        if took < least:
            best, least = tower, took
    return best


def _candidates(
    loaded: LoadedModel, device: torch.device, draft: Path | None, pictures: NDArray[np.uint8]
) -> Iterator[ImageTower]:
    for dtype in formats(device):
        with suppress(RuntimeError, NotImplementedError, TypeError):
            yield TorchTower(loaded, device, dtype)
    if device.type != "cpu" or draft is None:
        return
    try:
        with cache.needing_room(draft, loaded.checkpoint.files):
            written = export_image_towers(loaded, draft, pictures)
    except OSError:
        raise
    except Exception:  # noqa: BLE001 - any operation of any architecture may be missing in the exporter
        return
    for name in written:
        yield OnnxImageTower(draft, f"onnx-{name}")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _seconds(tower: ImageTower, pictures: NDArray[np.uint8]) -> float:
    """Best time of one pass; the best, because other programs only ever slow it down."""
    taken: list[float] = []
    while len(taken) < _PASSES or sum(taken) < _SECONDS:
        started = time.perf_counter()
        tower(pictures)
        taken.append(time.perf_counter() - started)
    return min(taken)
