"""Endpoints that find photos: by words, by pictures, by what is like a photo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from starlette.datastructures import UploadFile

from clipsearch.errors import UsageError
from clipsearch.records import match_record
from clipsearch.types import Term
from clipsearch.web.errors import NotFoundError
from clipsearch.web.parameters import Ask, PhotoId, Ranked, Text, as_json
from clipsearch.web.schemas import MatchRecord, UploadRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from clipsearch.library import Library
    from clipsearch.types import Match, Photo

router = APIRouter()
DIGITS = 20
"""Of a content's SHA-256, in records."""


def contents_of(library: Library, photos: Iterable[Photo]) -> dict[int, str]:
    """What records call the contents of photos, by their id."""
    return {content: digest.hex()[:DIGITS] for content, digest in library.digests(photos).items()}


def _records(library: Library, found: Sequence[Match]) -> list[dict[str, Any]]:
    contents = contents_of(library, (match.photo for match in found))
    return [
        {"id": match.photo.id, "content": contents[match.photo.content], **match_record(match)}
        for match in found
        if match.photo.content in contents  # else it has just left the library
    ]


@router.get("/search", responses={200: {"model": list[MatchRecord]}})
async def search(ask: Ask, ranking: Ranked, q: Text = "") -> Response:
    """Find photos by describing them, best first; without any term, the newest photos."""
    words = [word for word in (q, *ranking.add) if word]

    def find(library: Library) -> list[dict[str, Any]]:
        if not words and not ranking.subtract:
            newest = library.newest(ranking.filters, limit=ranking.limit, offset=ranking.offset)
            return _records(library, newest)
        return _records(
            library, library.search(add=ask.terms(library, words), **ranking.options(ask, library))
        )

    return as_json(await ask(find))


@router.get("/photos/{photo}/similar", responses={200: {"model": list[MatchRecord]}})
async def similar(
    *,
    photo: PhotoId,
    ask: Ask,
    ranking: Ranked,
    include_self: Annotated[bool, Query(description="Its exact copies and itself, too.")] = False,
) -> Response:
    """Find photos that look like a photo, best first."""

    def find(library: Library) -> list[dict[str, Any]]:
        photo_of(library, photo)
        found = library.similar(
            Term(str(photo), kind="photo"),
            add=ask.terms(library, ranking.add),
            include_self=include_self,
            **ranking.options(ask, library),
        )
        return _records(library, found)

    return as_json(await ask(find))


def photo_of(library: Library, key: int) -> Photo:
    """The photo with an id.

    Raises:
        NotFoundError: There is none.
    """
    try:
        return library.photo(key)
    except UsageError as error:
        raise NotFoundError(error.message, error.hint) from None


_PICTURE = {"schema": {"type": "string", "format": "binary"}}
_FORM = {"type": "object", "required": ["file"], "properties": {"file": _PICTURE["schema"]}}


@router.post(
    "/pictures",
    responses={200: {"model": UploadRecord}},
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": {"schema": _FORM}, "application/octet-stream": _PICTURE},
        }
    },
)
async def upload(request: Request, ask: Ask) -> Response:
    """Hand in a picture, of at most 64 MB, to search by it; only its embedding is kept, for a while."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        async with request.form(max_files=1, max_fields=10) as form:
            file = form.get("file")
            if not isinstance(file, UploadFile):
                raise UsageError("no picture in the form", "send it as the field `file`")
            data = await file.read()
    else:
        data = await request.body()
    uploads = request.app.state.uploads
    key = await ask(lambda library: uploads.add(library, data), lane="pictures")
    return as_json({"id": f"upload:{key}"})
