"""What a person types to search for: texts, pictures, URLs, concepts, each with a weight."""

from __future__ import annotations

import os
import re
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from clipsearch.errors import UsageError
from clipsearch.matches import Term
from clipsearch.roots import absolute

if TYPE_CHECKING:
    from collections.abc import Sequence

MARK = "@"
"""In front of a concept's name in queries and labels; twice in front of a text that begins with it."""
_NAME = re.compile(r"[\w-]+")
_LONGEST = 100  # characters of a name
_MOST_WEIGHT = 1_000_000  # float32 has seven digits: nothing else counts beside it
_WEIGHTED = re.compile(r"(\d+(?:\.\d+)?|\.\d+):(.*)", re.DOTALL)


def terms_of(add: Sequence[str | Term], subtract: Sequence[str | Term] = ()) -> list[Term]:
    """The terms of a query, those to subtract with their weights below 0; pictures by their absolute paths.

    Raises:
        UsageError: One of them says nothing.
    """
    signed = [(term, 1) for term in add] + [(term, -1) for term in subtract]
    return [
        replace(term, weight=sign * term.weight)
        if isinstance(term, Term)
        else _placed(parse_term(term, sign=sign))
        for term, sign in signed
    ]


def picture_term(typed: str) -> Term:
    """A picture, by its absolute path or its URL.

    Raises:
        UsageError: Nothing was typed.
    """
    return _placed(Term(typed, 1.0, "url" if parse_term(typed).kind == "url" else "image"))


def _placed(term: Term) -> Term:
    return replace(term, value=str(absolute(term.value))) if term.kind == "image" else term


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


def _is_of_pictures(suffix: bytes) -> bool:
    from clipsearch.photos.scan import PICTURE_SUFFIXES  # 5 ms, and most terms are texts

    return suffix in PICTURE_SUFFIXES


def _names_picture(value: str) -> bool:
    """Whether a term means a file: `photo.jpg` even when it is missing, `dog` not even when it exists."""
    if "\n" in value or "\0" in value:
        return False
    looks_like_path = os.sep in value or (os.altsep is not None and os.altsep in value)
    suffix = os.fsencode(Path(value).suffix.lower()[1:])
    has_suffix = bool(suffix) and _is_of_pictures(suffix)
    if has_suffix and (looks_like_path or " " not in value):
        return True
    try:
        return (looks_like_path or has_suffix) and Path(value).expanduser().is_file()
    except (OSError, RuntimeError):  # too long for a name; `~nobody`
        return False


def check_name(typed: str) -> str:
    """A concept's name, as it is kept: without `@`, in lower case.

    Raises:
        UsageError: It is none.
    """
    name = unicodedata.normalize("NFC", typed.strip().removeprefix(MARK)).casefold()
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        raise UsageError(f"not a name for a concept: {typed!r}", "use letters, digits, - and _: grandma")
    return name
