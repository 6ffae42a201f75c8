"""Which number format the image tower runs fastest in on this machine, without harm to the embeddings.

ViT-B/32, images per second on one CPU with BF16 instructions: float32 21, bfloat16 75; without them
bfloat16 is emulated and many times slower. So each candidate is tried for a moment, on pictures with the
spectrum of natural ones, and remembered in the model cache for this device and this version of torch.
"""

from __future__ import annotations

import copy
import json
import os
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from clipsearch.encoders import cache

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from clipsearch.types import Model, Preprocessing

# To float32, for every picture tried. The promise is 0.999 for every photo; the worst of thousands is
# farther off than the worst of a few.
COSINE = 0.9995
# x86 without AVX-512 has no BF16 instructions: emulated, it can only be slower.
_EMULATING = ("AVX2", "NO AVX")
_PICTURES = 8
_SECONDS = 0.3  # for each candidate


class ImageTower:
    """An image tower on its device in one number format.

    Args:
        visual: The module; it is moved and converted.
        preprocessing: For mean and standard deviation.
        device: Where it runs.
        dtype: Of weights and activations.
        features: Calls the module and returns its embedding.
    """

    def __init__(
        self,
        visual: Any,
        preprocessing: Preprocessing,
        *,
        device: torch.device,
        dtype: torch.dtype,
        features: Callable[[Any, Any], Any],
    ) -> None:
        # NHWC bytes seen as NCHW are already in this layout.
        self._visual = visual.to(device=device, dtype=dtype, memory_format=torch.channels_last)
        self._device, self._dtype, self._features = device, dtype, features
        mean = torch.tensor(preprocessing.mean, device=device).view(1, 3, 1, 1)
        std = torch.tensor(preprocessing.std, device=device).view(1, 3, 1, 1)
        self._scale, self._offset = 1 / (255 * std), -mean / std

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Returns `(n, dim)` float32 unit rows for `(n, height, width, 3)` pictures."""
        with torch.inference_mode():
            # Bytes travel, floats do not: a quarter of the transfer.
            raw = torch.from_numpy(np.ascontiguousarray(images)).to(self._device)
            pixels = raw.permute(0, 3, 1, 2).float().mul_(self._scale).add_(self._offset)
            found = self._features(self._visual, pixels.to(self._dtype)).float()
            rows: NDArray[np.float32] = torch.nn.functional.normalize(found, dim=-1).cpu().numpy()
        return rows


def calibrated(
    visual: Any, model: Model, device: torch.device, features: Callable[[Any, Any], Any]
) -> tuple[ImageTower, str]:
    """The fastest tower whose embeddings keep a cosine of `COSINE` to float32, and its format's name."""

    def tower(module: Any, dtype: torch.dtype) -> ImageTower:
        return ImageTower(module, model.preprocessing, device=device, dtype=dtype, features=features)

    tried = candidates(device)
    remembered = _Remembered(model.fingerprint, device)
    if not tried:
        return tower(visual, torch.float32), "float32"
    if (name := remembered.get()) is not None:
        return tower(visual, getattr(torch, name)), name
    exact = tower(visual, torch.float32)
    pictures = natural_pictures(_PICTURES, model.preprocessing.size)
    wanted = exact(pictures)
    best, best_dtype = exact, torch.float32
    fastest = _seconds(exact, pictures)
    for dtype in tried:
        try:
            candidate = tower(copy.deepcopy(visual), dtype)
            # One picture first: an emulated format takes seconds for all of them.
            if device.type == "cpu" and _once(candidate, pictures[:1]) > 2 * _once(exact, pictures[:1]):
                continue
            cosines = (candidate(pictures) * wanted).sum(axis=1)
        except (RuntimeError, NotImplementedError, TypeError):
            continue  # an operation of this architecture does not exist in this format
        # NaN, from an overflow in float16, compares false.
        if cosines.min() >= COSINE and (took := _seconds(candidate, pictures)) < fastest:
            best, best_dtype, fastest = candidate, dtype, took
    name = str(best_dtype).removeprefix("torch.")
    remembered.put(name)
    return best, name


def candidates(device: torch.device) -> tuple[torch.dtype, ...]:
    """Formats that may be faster than float32 on a device."""
    if device.type == "cuda":
        return torch.bfloat16, torch.float16
    if device.type == "mps":
        return (torch.float16,)
    return () if torch.backends.cpu.get_cpu_capability() in _EMULATING else (torch.bfloat16,)


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


def _once(tower: ImageTower, pictures: NDArray[np.uint8]) -> float:
    tower(pictures)  # kernels are chosen in the first call
    started = time.perf_counter()
    tower(pictures)
    return time.perf_counter() - started


def _seconds(tower: ImageTower, pictures: NDArray[np.uint8]) -> float:
    """Best time of one pass; the best, because other programs only ever slow it down."""
    best, until = float("inf"), time.perf_counter() + _SECONDS
    while best == float("inf") or time.perf_counter() < until:
        started = time.perf_counter()
        tower(pictures)
        best = min(best, time.perf_counter() - started)
    return best


class _Remembered:
    """Earlier results for this model, in `precision.json` of its cache folder."""

    def __init__(self, fingerprint: str, device: torch.device) -> None:
        self._path = cache.folder_of(fingerprint) / "precision.json"
        hardware = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
        self._key = f"{device.type} / {hardware} / torch {torch.__version__}"
        self._allowed = {
            "float32",
            *(str(dtype).removeprefix("torch.") for dtype in candidates(device)),
        }

    def get(self) -> str | None:
        name = self._all().get(self._key)
        return name if name in self._allowed else None

    def put(self, name: str) -> None:
        content = json.dumps({**self._all(), self._key: name}, indent=2)
        try:
            temporary = self._path.with_suffix(f".{os.getpid()}")
            temporary.write_text(content, encoding="utf-8")
            temporary.replace(self._path)
        except OSError:
            return  # measured again next time

    def _all(self) -> dict[str, str]:
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
