"""Generic prompts, what any photo may show, embedded once for each model and kept in the model cache."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clipsearch.encoders import cache
from clipsearch.half_units import are_units

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from clipsearch.encoders import TextEncoder
    from clipsearch.types import Model

_LIST = Path(__file__).parents[1] / "prompts.txt"
_CHUNK = 64  # two batches of the encoder: Ctrl-C is heard between chunks


def generic_prompts() -> tuple[str, ...]:
    """The prompts: some six hundred everyday things, places, doings and kinds of picture."""
    text = _LIST.read_text(encoding="utf-8")
    return tuple(prompt for part in text.split(",") if (prompt := " ".join(part.split())))


def prompt_vectors(
    model: Model,
    open_encoder: Callable[[], TextEncoder],
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> NDArray[np.float32]:
    """The embeddings of the generic prompts under a model.

    Args:
        model: Whose.
        open_encoder: Asked for its text encoder where the cache does not have them.
        progress: Told of prompts done, and of how many.

    Returns:
        `(prompts, dim)` float32 unit rows.

    Raises:
        ModelError: They are not in the cache, and the model cannot be had.
    """
    prompts = generic_prompts()
    # Named by what it holds: another list of prompts is another file.
    name = f"prompts-{hashlib.sha256(repr(prompts).encode()).hexdigest()[:12]}.npy"
    path = cache.folder_of(model.fingerprint) / name
    rows = _read(path, (len(prompts), model.dim))
    if rows is None:
        encoder = open_encoder()
        parts: list[NDArray[np.float32]] = []
        for start in range(0, len(prompts), _CHUNK):
            progress(start, len(prompts))
            parts.append(encoder.encode(prompts[start : start + _CHUNK]))
        stored = np.concatenate(parts).astype(np.float16)
        _write(path, stored)
        rows = stored.astype(np.float32)  # as it is read: every query gets the same margins
    return rows


def _read(path: Path, shape: tuple[int, int]) -> NDArray[np.float32] | None:
    """What a file holds, None when it is not there or damaged."""
    try:
        rows: NDArray[np.float16] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if rows.dtype != np.float16 or rows.shape != shape or not are_units(rows).all():
        return None
    return rows.astype(np.float32)


def _write(path: Path, rows: NDArray[np.float16]) -> None:
    """Where nothing can be written, or the model itself is not cached, they are made again next time."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        try:
            with temporary.open("wb") as file:
                np.save(file, rows)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
