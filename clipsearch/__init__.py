"""Find photos on your own disk by describing them.

>>> from clipsearch import Library
>>> with Library.open() as library:                       # doctest: +SKIP
...     library.index(["~/Photos"])
...     for match in library.search("brown dog on beach"):
...         print(match.score, match.path)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clipsearch.errors import ClipsearchError
from clipsearch.matches import Match, Photo

if TYPE_CHECKING:
    from clipsearch.library import Library
    from clipsearch.types import IndexReport, Prediction

__version__ = "0.1.0"

__all__ = ["ClipsearchError", "IndexReport", "Library", "Match", "Photo", "Prediction", "__version__"]


def __getattr__(name: str) -> Any:
    # Library pulls in numpy, which `clipsearch --help` must not wait for.
    if name == "Library":
        from clipsearch.library import Library

        return Library
    if name in {"IndexReport", "Prediction"}:
        from clipsearch import types

        return getattr(types, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
