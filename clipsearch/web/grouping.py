"""Endpoints that sort all photos: by label, and into groups of duplicates."""

from __future__ import annotations

import json
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Response
from starlette.responses import StreamingResponse

from clipsearch.errors import UsageError
from clipsearch.records import duplicate_record, prediction_record, prediction_records
from clipsearch.surest import Surest
from clipsearch.web.parameters import Ask, Filtered, as_json, check_lengths
from clipsearch.web.schemas import DuplicateRecord, LabelRecord, PredictionRecord
from clipsearch.web.search import contents_of
from clipsearch.zeroshot import DEFAULT_TEMPLATES, check_labels

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from clipsearch.library import Library
    from clipsearch.predictions import Predictions
    from clipsearch.types import Filters, Prediction

router = APIRouter()
_MOST_PROMPTS = 4_000  # a slow processor embeds a hundred in a second

Labels = Annotated[
    list[str], Query(alias="label", max_length=1_000, description="To choose from; `@concept` works, too.")
]
Templates = Annotated[
    list[str],
    Query(
        alias="template", max_length=100, description="Prompt with `{}` for the label; several are averaged."
    ),
]
MinProb = Annotated[
    float, Query(ge=0, le=1, description="Leave out photos whose best label is less probable.")
]


@router.get("/classify", responses={200: {"model": list[PredictionRecord]}})
async def classify(
    ask: Ask,
    filters: Filtered,
    labels: Labels = [],  # noqa: B006 - FastAPI copies defaults
    templates: Templates = [],  # noqa: B006
    min_prob: MinProb = 0.0,
) -> Response:
    """How well labels fit each photo."""
    choices = _checked(labels, templates)

    def records(library: Library) -> Iterator[dict[str, Any]]:
        for block in _predictions(library, choices, templates, filters, min_prob):
            for photo, record in zip(block.photos, prediction_records(block, choices), strict=True):
                yield {"id": photo, **record}

    blocks = ask.stream(records)
    first = await anext(blocks, None)  # what is wrong is said before the answer begins

    async def text() -> AsyncIterator[bytes]:
        yield b"["
        block, between = first, ""
        while block:
            yield (between + ",\n".join(map(json.dumps, block))).encode("ascii")
            block, between = await anext(blocks, None), ",\n"
        yield b"]\n"

    return StreamingResponse(text(), media_type="application/json")


@router.get("/classify/summary", responses={200: {"model": list[LabelRecord]}})
async def summary(
    *,
    ask: Ask,
    filters: Filtered,
    labels: Labels = [],  # noqa: B006
    templates: Templates = [],  # noqa: B006
    min_prob: MinProb = 0.0,
    top: Annotated[int, Query(ge=0, le=1000, description="Photos that stand for each label.")] = 12,
) -> Response:
    """How many photos each label fits best, and which of them most surely; labels in the order given."""
    choices = _checked(labels, templates)

    def count(library: Library) -> list[dict[str, Any]]:
        surest = Surest(len(choices), top)
        deque(surest.keep(_predictions(library, choices, templates, filters, min_prob)), maxlen=0)
        return [
            {"label": label, "photos": photos, "surest": _shown(library, surest.of(number), choices)}
            for number, (label, photos) in enumerate(zip(choices, surest.counts, strict=True))
        ]

    return as_json(await ask(count, lane="long"))


def _shown(library: Library, surest: list[Prediction], labels: tuple[str, ...]) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = []
    for prediction in surest:
        with suppress(UsageError, KeyError):  # it has just left the library
            photo = library.photo(prediction.photo or 0)
            facts = {"id": photo.id, "content": contents_of(library, [photo])[photo.content]}
            sides = {"width": photo.width, "height": photo.height}
            shown.append({**facts, **sides, **prediction_record(prediction, labels)})
    return shown


def _checked(labels: list[str], templates: list[str]) -> tuple[str, ...]:
    check_lengths([*labels, *templates])
    if len(labels) * max(1, len(templates)) > _MOST_PROMPTS:
        raise UsageError(f"more than {_MOST_PROMPTS:,} prompts", "give fewer labels or templates")
    return check_labels(labels)


def _predictions(
    library: Library, labels: tuple[str, ...], templates: list[str], filters: Filters, min_prob: float
) -> Iterator[Predictions]:
    blocks = library.classify_blocks(labels, templates=templates or DEFAULT_TEMPLATES, filters=filters)
    return (block.at_least(min_prob) for block in blocks)


@router.get("/duplicates", responses={200: {"model": list[DuplicateRecord]}})
async def duplicates(
    *,
    ask: Ask,
    filters: Filtered,
    exact: Annotated[bool, Query(description="Files with the same bytes.")] = True,
    similar: Annotated[bool, Query(description="The same picture in another size or quality.")] = True,
    bursts: Annotated[
        bool, Query(description="Photos of one camera within moments, that look alike.")
    ] = False,
    gap: Annotated[
        float, Query(ge=0, le=86_400, allow_inf_nan=False, description="Seconds between them, at most.")
    ] = 3.0,
) -> Response:
    """Groups of photos that are the same, or nearly; those first that take most room, in each the best."""

    def find(library: Library) -> list[dict[str, Any]]:
        groups = library.duplicates(exact=exact, similar=similar, bursts=bursts, gap=gap, filters=filters)
        contents = contents_of(library, (one.photo for group in groups for one in group))
        return [
            {
                "id": one.photo.id,
                "content": contents[one.photo.content],
                **duplicate_record(number, one),
            }
            for number, group in enumerate(groups, 1)
            for one in group
            if one.photo.content in contents
        ]

    return as_json(await ask(find, lane="long"))
