"""Conditional requests (RFC 9110, section 13): what a client has already is not sent again."""

from __future__ import annotations

from contextlib import suppress
from email.utils import formatdate, parsedate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    from starlette.datastructures import Headers


def validators(facts: os.stat_result) -> dict[str, str]:
    """Headers that tell one state of a file from another."""
    headers = {"ETag": f'"{facts.st_mtime_ns:x}-{facts.st_size:x}"'}
    with suppress(ValueError, OverflowError, OSError):  # disks hold times that no calendar has
        headers["Last-Modified"] = formatdate(facts.st_mtime, usegmt=True)
    return headers


def is_known(asked: Headers, told: dict[str, str]) -> bool:
    """Whether the client has what an answer with these headers would send."""
    tags = asked.get("if-none-match")
    if tags is not None:
        return tags.strip() == "*" or told["ETag"] in [
            tag.strip().removeprefix("W/") for tag in tags.split(",")
        ]
    since, last = parsedate(asked.get("if-modified-since", "")), parsedate(told.get("Last-Modified", ""))
    return since is not None and last is not None and since >= last


def is_same(asked: Headers, told: dict[str, str]) -> bool:
    """Whether a part would fit the parts that the client has."""
    known = asked.get("if-range")
    return known is None or known.strip() in (told["ETag"], told.get("Last-Modified"))
