"""Endpoints about single photos: what is known of one, its thumbnail, its file, several in an archive."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import ValidationError
from starlette.responses import StreamingResponse

from clipsearch.errors import PhotoError, UsageError
from clipsearch.records import photo_record
from clipsearch.web.archive import packed
from clipsearch.web.conditional import is_known
from clipsearch.web.errors import NotFoundError
from clipsearch.web.originals import Original, make_thumbnail, open_photo
from clipsearch.web.parameters import Ask, PhotoId, as_json
from clipsearch.web.schemas import ArchiveRequest, PhotoDetailsRecord
from clipsearch.web.search import DIGITS

if TYPE_CHECKING:
    from clipsearch import thumbnails
    from clipsearch.library import Library
    from clipsearch.photos.guarded import Decoder
    from clipsearch.types import PhotoDetails

router = APIRouter()
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_A_YEAR = "private, max-age=31536000, immutable"


class Size(IntEnum):
    """Pixels of a thumbnail's longer side."""

    SMALL = 256
    LARGE = 512
    SCREEN = 2048


@router.get("/photos/{photo}", responses={200: {"model": PhotoDetailsRecord}})
async def details(photo: PhotoId, ask: Ask) -> Response:
    """All that is known of a photo."""
    found = await ask(lambda library: _details(library, photo))
    modified = found.modified and found.modified.isoformat()
    return as_json(
        {
            "id": found.photo.id,
            "content": found.digest.hex()[:DIGITS],
            **photo_record(found.photo),
            "root": str(found.root),
            "folder": str(found.photo.path.parent),
            "tags": found.tags,
            "caption": found.caption,
            "words": found.words,
            "modified": modified,
        }
    )


def _details(library: Library, photo: int) -> PhotoDetails:
    try:
        return library.details(photo)
    except UsageError as error:
        raise NotFoundError(error.message, error.hint) from None


@router.get(
    "/photos/{photo}/thumbnail",
    responses={
        200: {"content": {"image/webp": _BINARY}, "description": "A WebP, upright, never enlarged."},
        304: {"description": "It is what `If-None-Match` names."},
    },
    response_class=Response,
)
async def thumbnail(
    request: Request,
    photo: PhotoId,
    ask: Ask,
    size: Annotated[Size, Query(description="Pixels of its longer side.")] = Size.LARGE,
    v: Annotated[
        str, Query(max_length=64, description="The record's `content`: caches keep it for good then.")
    ] = "",
) -> Response:
    """A small picture of a photo, made once and kept on disk; of a video, the frame that `v` names."""
    kept: thumbnails.Thumbnails = request.app.state.thumbnails
    decoder: Decoder = request.app.state.decoder

    def remembered(library: Library) -> tuple[PhotoDetails, bytes, float | None, bytes | None]:
        found = _details(library, photo)
        frame = library.frame(found.photo, v) if v else None
        digest, seconds = frame or (found.digest, None)
        return found, digest, seconds, kept.get(digest, size)

    found, digest, seconds, picture = await ask(remembered)
    content = digest.hex()[:DIGITS]
    headers = {
        "Cache-Control": _A_YEAR if v == content else "private, no-cache",
        "ETag": f'"{content}-{size}"',
    }
    if picture is None:

        def made(_: Library) -> tuple[bytes, bool]:
            try:
                new, is_indexed = make_thumbnail(found, size, decoder, seconds)
            except (PhotoError, OSError) as error:
                said = error.message if isinstance(error, PhotoError) else "it cannot be read"
                raise NotFoundError(f"no thumbnail: {said}", "index its folder again") from None
            if is_indexed:
                kept.keep(digest, size, new)
            return new, is_indexed

        picture, is_indexed = await ask(made, lane="pictures")
        if not is_indexed:  # it has changed since; the next index run will see it
            return Response(picture, headers={"Cache-Control": "no-store"}, media_type="image/webp")
    if is_known(request.headers, headers):
        return Response(status_code=304, headers=headers)
    return Response(picture, headers=headers, media_type="image/webp")


@router.get(
    "/photos/{photo}/original",
    responses={
        200: {
            "content": {"image/*": _BINARY, "video/*": _BINARY, "application/octet-stream": _BINARY},
            "description": "The file.",
        },
        206: {
            "content": {"image/*": _BINARY, "video/*": _BINARY},
            "description": "The part that `Range` names.",
        },
        304: {"description": "It is what `If-None-Match` names, or no newer than `If-Modified-Since`."},
        416: {"description": "The file has no such part."},
    },
    response_class=Response,
)
async def original(
    request: Request,
    photo: PhotoId,
    ask: Ask,
    download: Annotated[bool, Query(description="To be saved, not shown.")] = False,
) -> Response:
    """The photo's file, byte by byte."""

    def opened(library: Library) -> Original:
        found = _details(library, photo)
        return Original(open_photo(found), found, request.headers, download=download)

    return await ask(opened)


@router.post(
    "/archive",
    responses={200: {"content": {"application/zip": _BINARY}, "description": "A zip, streamed."}},
    response_class=Response,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/ArchiveRequest"}},
                "application/x-www-form-urlencoded": {
                    "schema": {"$ref": "#/components/schemas/ArchiveRequest"}
                },
            },
        }
    },
)
async def archive(request: Request, ask: Ask) -> Response:
    """Photos in one zip, each as it is on disk, same names kept apart."""
    wanted = dict.fromkeys(await _ids(request))
    photos = await ask(lambda library: [_details(library, photo) for photo in wanted])
    headers = {"Content-Disposition": "attachment; filename=photos.zip"}
    return StreamingResponse(packed(photos), media_type="application/zip", headers=headers)


async def _ids(request: Request) -> list[int]:
    asked: dict[str, Any] | Any
    try:
        if request.headers.get("content-type", "").startswith("application/json"):
            asked = await request.json()
        else:
            async with request.form(max_files=0, max_fields=1_000) as form:
                asked = {"ids": [int(str(value)) for value in form.getlist("ids")]}
        return ArchiveRequest.model_validate(asked).ids
    except (ValueError, ValidationError, RecursionError):
        raise UsageError("no list of photo ids", 'send {"ids": [1, 2, 3]}, at most 1,000') from None
