"""Folders of real photos to index: as many as asked for, no two with the same bytes."""

from __future__ import annotations

import io
import shutil
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from benchmarks.population import building
from clipsearch.machine import usable_cores

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_SUFFIXES = {".jpg", ".jpeg"}
_FOLDER_SIZE = 1_000
# 12 megapixels in the shape of most cameras.
_LONG, _SHORT = 4000, 3000
_QUALITY = 90
# Levels of 255; sensor noise, without which an enlarged photo would take far fewer bytes than a camera's.
_NOISE = 7.0


def photo_set(cache: Path, source: Path, count: int) -> Path:
    """A folder of `count` photos from `source`; where these run out, they come again with other bytes.

    Args:
        cache: Where to keep the folder.
        source: JPEGs, at any depth.
        count: How many.
    """
    folder = cache / f"photos-{_name(source)}-{count}"
    if not folder.exists():
        originals = _originals(source)
        print(f"gathering {count:,} photos ...", flush=True)
        with building(folder) as draft:
            for number in range(count):
                target = _place(draft, number)
                shutil.copyfile(originals[number % len(originals)], target)
                if number >= len(originals):
                    with target.open("ab") as file:
                        file.write(b"%d" % number)  # behind the end of the picture: decoders stop before
    return folder


def large_set(cache: Path, source: Path, count: int) -> Path:
    """A folder of `count` photos of 12 megapixels: enlarged, with noise, as JPEGs of quality 90."""
    folder = cache / f"large-{_name(source)}-{count}"
    if not folder.exists():
        originals = _originals(source)
        print(f"making {count:,} photos of 12 megapixels ...", flush=True)
        with building(folder) as draft, ThreadPoolExecutor(usable_cores()) as pool:
            noise = np.random.default_rng(0).normal(0, _NOISE, (_LONG, _LONG, 3)).astype(np.int16)

            def make(number: int) -> None:
                original = originals[number % len(originals)]
                _place(draft, number).write_bytes(_enlarged(original, np.roll(noise, number, axis=0)))

            list(pool.map(make, range(count)))
    return folder


def _enlarged(path: Path, noise: np.ndarray[tuple[int, ...], np.dtype[np.int16]]) -> bytes:
    with Image.open(path) as image:
        wide = image.width >= image.height
        size = (_LONG, _SHORT) if wide else (_SHORT, _LONG)
        pixels = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BICUBIC), np.int16)
    noisy = (pixels + noise[: size[1], : size[0]]).clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(noisy).save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


def _originals(source: Path) -> Sequence[Path]:
    """JPEGs below a folder, taken evenly from its sub-folders: any first part is a fair sample."""
    found = [path for path in source.rglob("*") if path.suffix.lower() in _SUFFIXES]
    if not found:
        raise SystemExit(f"no JPEG below {source}")
    return sorted(found, key=lambda path: sha256(path.relative_to(source).as_posix().encode()).digest())


def _place(folder: Path, number: int) -> Path:
    path = folder / f"{number // _FOLDER_SIZE:04}" / f"{number:06}.jpg"
    path.parent.mkdir(exist_ok=True)
    return path


def _name(source: Path) -> str:
    return sha256(str(source.resolve()).encode()).hexdigest()[:8]
