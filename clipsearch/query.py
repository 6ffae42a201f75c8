"""Queries: texts and pictures, added and subtracted, as one unit vector."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clipsearch.concepts import MARK, check_name
from clipsearch.errors import UsageError
from clipsearch.photos.scan import PICTURE_SUFFIXES
from clipsearch.types import Term

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

_MOST_WEIGHT = 1_000_000  # float32 has seven digits: nothing else counts beside it
_WEIGHTED = re.compile(r"(\d+(?:\.\d+)?|\.\d+):(.*)", re.DOTALL)


def parse_term(typed: str, *, sign: int = 1, pictures: bool = True) -> Term:
    """A query term as the user typed it: `dog`, `2:dog`, `pool.jpg`, `0.5:https://example.org/pool.jpg`.

    `@grandma` is a concept, `@@grandma` the text that begins with `@`.
    It is a URL when it starts with http:// or https://, a picture when it names an existing file or
    ends like a picture file, and a text otherwise.

    Args:
        typed: The term, with an optional weight in front.
        sign: -1 for a term to subtract.
        pictures: Whether it may name a picture, by its path or URL; if not, that is a text.

    Raises:
        UsageError: Nothing is left to search for, or the weight is 0 or beyond all measure.
    """
    weight, value = 1.0, typed
    if match := _WEIGHTED.fullmatch(typed):
        weight, value = float(match[1]), match[2]
    value = value.strip()
    if not value:
        raise UsageError(
            "empty query" if not typed.strip() else f"nothing to search for in {typed!r}", "type some words"
        )
    if weight == 0:
        raise UsageError(f"weight 0 in {typed!r}", "leave the term away, or give it a weight above 0")
    if weight > _MOST_WEIGHT:
        raise UsageError(f"weight {weight:g} in {typed!r}", f"give it one of at most {_MOST_WEIGHT:,}")
    if pictures and value.lower().startswith(("http://", "https://")):
        return Term(value, sign * weight, "url")
    if pictures and _names_picture(value):
        return Term(value, sign * weight, "image")
    if value.startswith(MARK * 2):
        return Term(value.removeprefix(MARK), sign * weight)
    if value.startswith(MARK):
        name, *rest = value.split(maxsplit=1)
        if rest:
            hint = f"add the rest: clipsearch search {name} --add '{rest[0]}'"
            raise UsageError(
                f"a concept stands for itself: {value!r}", f"{hint}\nfor the text itself: {MARK}{value}"
            )
        return Term(check_name(name), sign * weight, "concept")
    return Term(value, sign * weight)


def _names_picture(value: str) -> bool:
    """Whether a term means a file: `photo.jpg` even when it is missing, `dog` not even when it exists."""
    if "\n" in value or "\0" in value:
        return False
    looks_like_path = os.sep in value or (os.altsep is not None and os.altsep in value)
    has_suffix = os.fsencode(Path(value).suffix.lower()[1:]) in PICTURE_SUFFIXES
    if has_suffix and (looks_like_path or " " not in value):
        return True
    try:
        return (looks_like_path or has_suffix) and Path(value).expanduser().is_file()
    except (OSError, RuntimeError):  # too long for a name; `~nobody`
        return False


def embed(
    terms: Sequence[Term],
    encode_texts: Callable[[Sequence[str]], NDArray[np.float32]],
    encode_picture: Callable[[Term], NDArray[np.float32]],
) -> NDArray[np.float32]:
    """The embeddings of a query's terms.

    Args:
        terms: At least one.
        encode_texts: Texts to `(n, dim)` unit rows.
        encode_picture: A picture or concept term to a `(dim,)` unit vector.

    Returns:
        `(terms, dim)` float32, unit rows.
    """
    texts = [term for term in terms if term.kind == "text"]
    rows = iter(encode_texts([term.value for term in texts]) if texts else ())
    return np.stack([next(rows) if term.kind == "text" else encode_picture(term) for term in terms])


def combine(terms: Sequence[Term], rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """The query's vector: the weighted sum of its terms' unit embeddings, brought back to unit length.

    Args:
        terms: At least one.
        rows: `(terms, dim)`, as `embed` made them.

    Returns:
        `(dim,)` float32, unit length.

    Raises:
        UsageError: The terms cancel each other.
    """
    total = np.array([term.weight for term in terms], np.float32) @ rows
    length = float(np.linalg.norm(total))
    # Embeddings carry about three digits (float16): what is left below that is noise, not a direction.
    if length < 1e-3 * max(abs(term.weight) for term in terms):
        raise UsageError(
            "the terms of this query cancel each other", "subtract something else than what is searched"
        )
    return (total / length).astype(np.float32)
