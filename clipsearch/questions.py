"""Questions to a library and their answers, as plain values that pass from one process to another as JSON.

File names pass whole: a byte that is not UTF-8 is a lone surrogate in Python, and JSON can spell that.
"""

from __future__ import annotations

import os
from dataclasses import asdict, astuple
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from clipsearch.matches import Filters, Match, Metadata, Photo, Place, Term

if TYPE_CHECKING:
    from collections.abc import Callable

    from clipsearch.library import Library

_ALL = Filters()


class Question(NamedTuple):
    """A search, with everything that was chosen for it; `Library` says what it means.

    Attributes:
        kind: The method of `Library` that answers.
        terms: Signed; for `similar`, the picture comes first.
        limit: As for `Library.search`, and so are the others.
        filters: See there.
        min_score: See there.
        only_matches: See there.
        include_self: As for `Library.similar`.
        blend: See `Library.search`.
    """

    kind: Literal["search", "similar", "newest"]
    terms: tuple[Term, ...] = ()
    limit: int = 10
    filters: Filters = _ALL
    min_score: float | None = None
    only_matches: bool = False
    include_self: bool = False
    blend: float = 0.0

    def put_to(self, library: Library) -> list[Match]:
        """The library's answer.

        Raises:
            ClipsearchError: As the method that answers.
        """
        if self.kind == "newest":
            return library.newest(self.filters, limit=self.limit)
        chosen: dict[str, Any] = {
            "limit": self.limit,
            "filters": self.filters,
            "min_score": self.min_score,
            "only_matches": self.only_matches,
        }
        if self.kind == "search":
            return library.search(add=self.terms, blend=self.blend, **chosen)
        picture, *others = self.terms
        return library.similar(picture, add=others, include_self=self.include_self, **chosen)

    def plain(self) -> dict[str, Any]:
        """What `question_of` reads."""
        return self._asdict() | {
            "terms": [(term.value, term.weight, term.kind) for term in self.terms],
            "filters": {name: _plain(value) for name, value in asdict(self.filters).items()},
        }


def question_of(plain: dict[str, Any]) -> Question:
    """A question from what `Question.plain` has made of it.

    Raises:
        ValueError, TypeError, KeyError: It is none.
    """
    filters = plain["filters"]
    read: dict[str, Callable[[Any], Any]] = {
        "inside": Path,
        "after": datetime.fromisoformat,
        "before": datetime.fromisoformat,
        "near": lambda place: Place(*place),
        "min_sides": tuple,
        "tags": tuple,
    }
    for name, make in read.items():
        if filters[name] is not None:
            filters[name] = make(filters[name])
    terms = tuple(Term(value, weight, kind) for value, weight, kind in plain["terms"])
    return Question(**plain | {"terms": terms, "filters": Filters(**filters)})


def plain_match(match: Match) -> list[Any]:
    """What `match_of` reads."""
    return [_plain(value) for value in astuple(match)]


def match_of(plain: list[Any]) -> Match:
    """A match from what `plain_match` has made of it.

    Raises:
        ValueError, TypeError: It is none.
    """
    rank, score, (key, content, path, width, height, size, facts, seconds), strength, margin = plain
    taken, camera, lens, place = facts
    metadata = Metadata(
        None if taken is None else datetime.fromisoformat(taken),
        camera,
        lens,
        None if place is None else Place(*place),
    )
    photo = Photo(key, content, Path(path), width, height, size, metadata, seconds)
    return Match(rank, score, photo, strength, margin)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return os.fspath(value) if isinstance(value, Path) else value
