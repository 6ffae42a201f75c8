"""Tags in the catalog: which words each content has, the words to choose from, who was looked at.

All of it follows from the embeddings and the words: a repair may drop it, and the next `tag` makes it anew.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

import numpy as np

from clipsearch.catalog.connection import sound_values, spoken_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from clipsearch.catalog.catalog import Catalog
    from clipsearch.catalog.scope import Scope

_VARIABLES = 30_000  # SQLite's bound on `?` in one statement is 32,766
_LOOKED_AT = "SELECT content FROM tagged"


def untagged(catalog: Catalog, scope: Scope) -> NDArray[np.int64]:
    """Ids of the contents within `scope` that were not looked at yet, ascending."""
    return _contents(catalog, f"content NOT IN ({_LOOKED_AT})", scope)


def bearing_tags(catalog: Catalog, scope: Scope) -> NDArray[np.int64]:
    """Ids of the contents within `scope` that have a tag, ascending."""
    return _contents(catalog, "content IN (SELECT content FROM content_tag)", scope)


def _contents(catalog: Catalog, condition: str, scope: Scope) -> NDArray[np.int64]:
    sql = f"SELECT DISTINCT content FROM photo WHERE {condition} AND {scope.where} ORDER BY content"
    with spoken_errors(catalog.path), sound_values(catalog.path):
        rows = catalog.connection.execute(sql, scope.values).fetchall()
        return np.fromiter((row[0] for row in rows), np.int64, len(rows))


def record_tags(
    catalog: Catalog, model: int, contents: Sequence[int], chosen: Sequence[Sequence[tuple[str, float]]]
) -> None:
    """Commit one batch: the tags of each content, with their probabilities, instead of those it had.

    The model is the one whose embeddings were held against the words.
    """
    with catalog.atomic():
        execute, many = catalog.connection.execute, catalog.connection.executemany
        names = {name for tags in chosen for name, _ in tags}
        many("INSERT OR IGNORE INTO tag (name) VALUES (?)", [(name,) for name in sorted(names)])
        keys = dict(execute("SELECT name, id FROM tag").fetchall())
        many("DELETE FROM content_tag WHERE content = ?", [(content,) for content in contents])
        many(
            "INSERT INTO content_tag (content, tag, probability) VALUES (?, ?, ?)",
            [
                (content, keys[name], probability)
                for content, tags in zip(contents, chosen, strict=True)
                for name, probability in tags
            ],
        )
        many(
            "INSERT OR REPLACE INTO tagged (content, model) VALUES (?, ?)",
            [(content, model) for content in contents],
        )


def look_again(catalog: Catalog, scope: Scope) -> None:
    """Have the contents within `scope` tagged anew; until then they keep what they have."""
    with catalog.atomic():
        catalog.connection.execute(
            f"DELETE FROM tagged WHERE content IN (SELECT content FROM photo WHERE {scope.where})",
            scope.values,
        )


def drop_tags(catalog: Catalog, scope: Scope) -> None:
    """Take the tags of the contents within `scope` away."""
    with catalog.atomic():
        for table in ("content_tag", "tagged"):
            catalog.connection.execute(
                f"DELETE FROM {table} WHERE content IN (SELECT content FROM photo WHERE {scope.where})",
                scope.values,
            )
        drop_unused(catalog)


def drop_unused(catalog: Catalog) -> None:
    """Forget tags that nothing has; within a transaction."""
    catalog.connection.execute("DELETE FROM tag WHERE id NOT IN (SELECT tag FROM content_tag)")


def vocabulary(catalog: Catalog) -> tuple[str, ...]:
    """The user's own words to choose from, in order; empty where they are the built-in ones."""
    with spoken_errors(catalog.path), sound_values(catalog.path):
        rows = catalog.connection.execute("SELECT label FROM vocabulary ORDER BY id").fetchall()
        return tuple(str(label) for (label,) in rows)


def set_vocabulary(catalog: Catalog, labels: Sequence[str]) -> None:
    """Choose from these words from now on; every content is to be tagged anew."""
    with catalog.atomic():
        catalog.connection.execute("DELETE FROM vocabulary")
        catalog.connection.executemany(
            "INSERT INTO vocabulary (label) VALUES (?)", [(label,) for label in labels]
        )
        catalog.connection.execute("DELETE FROM tagged")


def tag_counts(catalog: Catalog, scope: Scope) -> list[tuple[str, int]]:
    """Tags and how many photos within `scope` have them, the most frequent first."""
    with spoken_errors(catalog.path), sound_values(catalog.path):
        rows = catalog.connection.execute(
            "SELECT name, count(*) AS photos FROM photo"
            " JOIN content_tag ON content_tag.content = photo.content"
            f" JOIN tag ON tag.id = content_tag.tag WHERE {scope.where} GROUP BY tag.id"
            " ORDER BY photos DESC, name",
            scope.values,
        ).fetchall()
        return [(str(name), int(photos)) for name, photos in rows]


def tags_of(catalog: Catalog, contents: Sequence[int]) -> dict[int, tuple[str, ...]]:
    """The tags of each content, the surest first; contents without one are left out."""
    found: dict[int, tuple[str, ...]] = {}
    for start in range(0, len(contents), _VARIABLES):
        part = [int(content) for content in contents[start : start + _VARIABLES]]
        with spoken_errors(catalog.path), sound_values(catalog.path):
            rows = catalog.connection.execute(
                "SELECT content, name FROM content_tag JOIN tag ON tag.id = tag"
                f" WHERE content IN ({','.join('?' * len(part))}) ORDER BY content, probability DESC, name",
                part,
            ).fetchall()
            for content, name in rows:
                found[int(content)] = (*found.get(int(content), ()), str(name))
    return found


def unknown_tags(catalog: Catalog, names: Sequence[str]) -> list[str]:
    """A sentence about each tag that no photo has."""
    if not names:
        return []
    with spoken_errors(catalog.path), sound_values(catalog.path):
        known = [str(name) for (name,) in catalog.connection.execute("SELECT name FROM tag").fetchall()]
    if not known:
        return ["no photo has a tag yet: clipsearch tag"]
    folded = {name.casefold(): name for name in known}
    sentences: list[str] = []
    for name in names:
        if name.casefold() not in folded:
            near = [folded[key] for key in get_close_matches(name.casefold(), folded, 3)]
            also = f"; near it: {', '.join(near)}" if near else ""
            sentences.append(f"no photo has the tag {name!r}{also}. All tags: clipsearch tag --list")
    return sentences
