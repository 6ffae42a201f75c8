"""Endpoints that say what there is: status, months, folders, tags, concepts."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from clipsearch.web.parameters import Ask, Filtered, as_json, folder
from clipsearch.web.schemas import ConceptRecord, FolderRecord, MonthRecord, StatusRecord, TagRecord

router = APIRouter()


@router.get("/status", responses={200: {"model": StatusRecord}})
async def status(ask: Ask) -> Response:
    """What the library holds."""
    return as_json(await ask(lambda library: library.status()))


@router.get("/months", responses={200: {"model": list[MonthRecord]}})
async def months(ask: Ask, filters: Filtered) -> Response:
    """How many photos were taken in each month, the first month first."""
    found = await ask(lambda library: library.months(filters))
    return as_json([one._asdict() for one in found])


@router.get("/folders", responses={200: {"model": list[FolderRecord]}})
async def folders(
    request: Request,
    ask: Ask,
    inside: Annotated[
        str | None,
        Query(alias="in", max_length=4_096, description="Its absolute path; none: the indexed ones."),
    ] = None,
) -> Response:
    """The folders right below one, with the number of photos in and below each."""
    above = None if inside is None else folder(request, "in")
    found = await ask(lambda library: library.folders(above))
    return as_json(
        [
            {"path": str(one.path), "name": one.path.name or str(one.path), "photos": one.photos}
            for one in found
        ]
    )


@router.get("/tags", responses={200: {"model": list[TagRecord]}})
async def tags(ask: Ask, filters: Filtered) -> Response:
    """Tags, the most frequent first."""
    found = await ask(lambda library: library.tags(filters))
    return as_json([{"tag": name, "photos": photos} for name, photos in found])


@router.get("/concepts", responses={200: {"model": list[ConceptRecord]}})
async def concepts(ask: Ask) -> Response:
    """What was taught by example, by name; a query calls it `@name`."""
    return as_json(await ask(lambda library: library.concepts()))
