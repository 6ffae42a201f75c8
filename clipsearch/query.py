"""Queries: texts and pictures, added and subtracted, as one unit vector."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clipsearch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from clipsearch.types import Term


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
