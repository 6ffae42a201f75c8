"""Which photos a query may answer with, as one SQL condition on the `photo` table."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from clipsearch.catalog.catalog import Root
    from clipsearch.types import Filters


@dataclass(frozen=True, slots=True)
class Scope:
    """A condition on `photo` rows with its bound values.

    Attributes:
        where: SQL, always safe to put behind WHERE or AND.
        values: For its `?`, in order.
        everything: True when no photo is left out, so that no set of ids need be built.
    """

    where: str = "1"
    values: tuple[object, ...] = ()
    everything: bool = True


def scope_of(filters: Filters, roots: Sequence[Root], offline: Sequence[Root] = ()) -> Scope:
    """Photos that pass the filters and whose root can be reached now."""
    conditions: list[str] = []
    values: list[object] = []
    if offline:
        conditions.append(f"photo.root NOT IN ({','.join('?' * len(offline))})")
        values.extend(root.id for root in offline)
    if filters.inside is not None:
        condition, bound = _inside(filters.inside, roots)
        conditions.append(condition)
        values.extend(bound)
    if not conditions:
        return Scope()
    return Scope(" AND ".join(conditions), tuple(values), everything=False)


def _inside(folder: Path, roots: Sequence[Root]) -> tuple[str, list[object]]:
    """Photos in `folder` or below: whole roots that lie in it, and a range of paths in the root around it."""
    choices: list[str] = []
    values: list[object] = []
    for root in roots:
        if root.path.is_relative_to(folder):
            choices.append("photo.root = ?")
            values.append(root.id)
        elif folder.is_relative_to(root.path):
            low, high = subtree(os.fsencode(folder.relative_to(root.path).as_posix()))
            choices.append("(photo.root = ? AND photo.path >= ? AND photo.path < ?)")
            values.extend((root.id, low, high))
    return f"({' OR '.join(choices)})" if choices else "0", values


def subtree(folder: bytes) -> tuple[bytes, bytes]:
    """The half-open range of relative paths below a folder; `0` is the byte after `/`."""
    return folder + b"/", folder + b"0"
