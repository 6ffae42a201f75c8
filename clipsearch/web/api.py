"""The endpoints."""

from __future__ import annotations

import io
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import FileResponse

from clipsearch.filters import parse
from clipsearch.records import match_record
from clipsearch.types import Filters, Match, Term
from clipsearch.web.pool import LibraryPool

router = APIRouter()


def _pool(request: Request) -> LibraryPool:
    pool: LibraryPool = request.app.state.pool
    return pool


Pool = Annotated[LibraryPool, Depends(_pool)]


def _filters(
    inside: Annotated[str | None, Query(alias="in")] = None,
    after: str | None = None,
    before: str | None = None,
    on: str | None = None,
) -> Filters:
    return parse(inside=inside, after=after, before=before, on=on)


Filtered = Annotated[Filters, Depends(_filters)]


def _record(match: Match) -> dict[str, Any]:
    return {"id": match.photo.id, **match_record(match)}


def _terms(words: list[str]) -> list[Term]:
    return [
        Term(word.removeprefix("photo:"), kind="photo") if word.startswith("photo:") else Term(word)
        for word in words
    ]


@router.get("/search")
async def search(
    pool: Pool,
    filters: Filtered,
    q: str = "",
    add: Annotated[list[str], Query()] = [],
    subtract: Annotated[list[str], Query()] = [],
    limit: int = 50,
    offset: int = 0,
) -> list[dict[str, Any]]:
    terms = _terms([q] if q else []) + _terms(add)
    if not terms and not subtract:
        found = await pool.run(lambda lib: lib.newest(filters, limit=limit, offset=offset))
    else:
        found = await pool.run(
            lambda lib: lib.search(
                add=terms, subtract=_terms(subtract), limit=limit, offset=offset, filters=filters
            )
        )
    return [_record(match) for match in found]


@router.get("/photos/{photo}/thumbnail")
async def thumbnail(photo: int, pool: Pool, size: int = 480) -> Response:
    from clipsearch.contact_sheet import thumbnails

    found = await pool.run(lambda lib: lib.photo(photo))
    picture = next(thumbnails([found.path], (size, size)))
    assert picture is not None
    out = io.BytesIO()
    picture.save(out, "WEBP", quality=80)
    return Response(out.getvalue(), media_type="image/webp")


@router.get("/photos/{photo}/original")
async def original(photo: int, pool: Pool) -> FileResponse:
    found = await pool.run(lambda lib: lib.photo(photo))
    return FileResponse(found.path)
