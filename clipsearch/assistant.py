"""A library for assistants, over the Model Context Protocol: they find, sort and look at photos, and no more.

Needs `clipsearch[mcp]`. A photo is named by its id or by the path under which it is indexed; no other file
can be reached, and no address on the net. Nothing is ever written.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CallToolResult, ImageContent, TextContent, ToolAnnotations
from pydantic import BaseModel, ConfigDict, Field

from clipsearch import __version__, thumbnails
from clipsearch.errors import ClipsearchError, PhotoError, UsageError
from clipsearch.filters import parse
from clipsearch.photos.guarded import Decoder
from clipsearch.records import match_record, photo_record
from clipsearch.surest import Surest
from clipsearch.terms import parse_term
from clipsearch.web.originals import make_thumbnail
from clipsearch.web.pool import LibraryPool
from clipsearch.zeroshot import DEFAULT_TEMPLATES, check_labels

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from clipsearch.library import Library
    from clipsearch.predictions import Predictions
    from clipsearch.types import Filters, Match, PhotoDetails, Prediction, Term
    from clipsearch.web.pool import Lane

T = TypeVar("T")

_IMAGE = 512  # pixels of the longer side
_MOST_LABELS = 500
_BY_ID = re.compile(r"photo:(\d{1,18})")
_INSTRUCTIONS = """\
The user's own photos, found by what they show. Everything runs on the user's machine.

- `search` takes plain words for what is in the picture ("brown dog on a beach"), no names or dates: for
  places, dates, cameras and folders there are `filters`. Without words it lists the newest photos.
- Look at `strength`: `weak` means no better than chance, so say that nothing fits rather than show it; or ask
  with `only_matches`. Scores are cosine similarities, to be compared within one answer only.
- A picture that comes near what is wanted is the best query: `similar`, or `photo:ID` among `add`. `subtract`
  moves away from something. `2:snow` counts double. `@name` is a concept that the user has taught.
- `photo` shows one photo, small. Look at some before you speak about what they show.
- `classify` counts the library, or part of it, by labels of your choice.
- Name photos to the user by their paths. Nothing here can change, move or delete anything.
"""
_READ_ONLY = ToolAnnotations(
    read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
)


class PhotoFilters(BaseModel):
    """Which photos; all that are given have to hold."""

    model_config = ConfigDict(extra="forbid")

    inside: Annotated[
        str | None, Field(alias="in", description="In this folder and below: an absolute path.")
    ] = None
    glob: Annotated[str | None, Field(description="Named like this: `*.heic`, `2023/*`.")] = None
    after: Annotated[
        str | None, Field(description="Taken then or later: `2023`, `2023-05`, `2023-05-17T18:30`.")
    ] = None
    before: Annotated[str | None, Field(description="Taken before then.")] = None
    on: Annotated[str | None, Field(description="Taken in that year, month or day.")] = None
    camera: Annotated[str | None, Field(description="By a camera with this in its name.")] = None
    lens: Annotated[str | None, Field(description="With a lens with this in its name.")] = None
    near: Annotated[
        str | None, Field(description="Taken near a place, in degrees north and east: `38.7,-9.1`.")
    ] = None
    within: Annotated[str | None, Field(description="How near: `500m`, without it `10km`.")] = None
    shape: Literal["landscape", "portrait", "square"] | None = None
    min_size: Annotated[
        str | None, Field(description="At least `1920x1080`, `3000` (the longer side) or `8MP`.")
    ] = None
    tags: Annotated[list[str], Field(description="Has all of these tags.")] = []
    text: Annotated[
        str | None, Field(description="Has these words in it, or in its caption: `invoice 2023`.")
    ] = None


class PhotoRecord(BaseModel):
    """A photo, as `clipsearch search --format json` has it, and its id."""

    id: Annotated[int, Field(description="For `similar`, `photo`, and `photo:ID` in queries.")]
    path: Annotated[str, Field(description=r"A byte that is not UTF-8 is spelled `\udcXX`: use the id then.")]
    taken: Annotated[str | None, Field(description="By the camera's clock, in ISO 8601.")]
    width: int
    height: int
    size: Annotated[int, Field(description="Bytes.")]
    camera: str | None
    lens: str | None
    latitude: float | None
    longitude: float | None


class MatchRecord(PhotoRecord):
    """A photo that answers a query."""

    rank: int
    score: Annotated[float | None, Field(description="Cosine similarity; null without a query.")]
    strength: Annotated[
        Literal["strong", "fair", "weak"] | None, Field(description="`weak`: no better than chance.")
    ]
    margin: Annotated[float | None, Field(description="The number behind it.")]


class Found(BaseModel):
    """Photos, best first; and what else there is to say."""

    photos: list[MatchRecord]
    notices: list[str]


class Example(BaseModel):
    """A photo that has a label most surely."""

    id: int
    path: str
    probability: float


class LabelCount(BaseModel):
    """How many photos one label fits best."""

    label: str
    photos: int
    examples: Annotated[list[Example], Field(description="The surest first.")]


class Classified(BaseModel):
    """Photos by label, the most frequent label first; and what else there is to say."""

    photos: Annotated[int, Field(description="That have a label.")]
    left_out: Annotated[int, Field(description="For which no label was probable enough.")]
    labels: list[LabelCount]
    notices: list[str]


class PhotoDetailsRecord(PhotoRecord):
    """All that is known of a photo; and what else there is to say."""

    root: Annotated[str, Field(description="The indexed folder that it is in.")]
    tags: list[str]
    modified: Annotated[str | None, Field(description="When the file was last changed, in UTC.")]
    notices: list[str]


Terms = Annotated[
    list[str], Field(max_length=32, description="Texts, `photo:ID` or `@concept`; `2:TERM` counts double.")
]
Limit = Annotated[int, Field(ge=1, le=200, description="At most this many photos.")]
MinScore = Annotated[float | None, Field(ge=-1, le=1, description="Only scores of at least this.")]
OnlyMatches = Annotated[bool, Field(description="Leave out what matches no better than chance.")]
Which = Annotated[int | str, Field(description="Its id, or its path as a result has told it.")]


def create_server(library: Library) -> MCPServer:
    """The server of a library; `run` speaks with an assistant over standard input and output.

    Args:
        library: The library; it stays the caller's own. It need not be there yet.
    """
    tools = _Tools(library)

    @asynccontextmanager
    async def lifespan(_: MCPServer) -> AsyncIterator[None]:
        try:
            yield
        finally:
            tools.close()

    server = MCPServer(
        "clipsearch",
        title="Photos on this machine",
        version=__version__,
        instructions=_INSTRUCTIONS,
        log_level="CRITICAL",  # what goes wrong is in the answers
        lifespan=lifespan,
    )
    for tool, title in (
        (tools.search, "Find photos by describing them"),
        (tools.similar, "Find photos like a photo"),
        (tools.classify, "Count photos by labels"),
        (tools.photo, "Look at a photo"),
    ):
        server.add_tool(tool, title=title, annotations=_READ_ONLY)
    return server


class _Tools:
    """What an assistant can do; the docstrings are for it."""

    def __init__(self, library: Library) -> None:
        self._pool = LibraryPool(library)
        self._decoder = Decoder()
        self._thumbnails = thumbnails.Thumbnails(library.path)

    def close(self) -> None:
        self._decoder.close()
        self._pool.close()

    async def search(
        self,
        *,
        text: Annotated[str, Field(description="What the photo shows, in plain words.")] = "",
        add: Terms = [],  # noqa: B006 - pydantic copies defaults
        subtract: Terms = [],  # noqa: B006
        limit: Limit = 10,
        filters: PhotoFilters | None = None,
        min_score: MinScore = None,
        only_matches: OnlyMatches = False,
    ) -> Annotated[CallToolResult, Found]:
        """Find photos by what they show: words, photos and concepts, added and subtracted.

        Without any of them, the newest photos that pass the filters.
        """

        def find(library: Library) -> list[Match]:
            which = _filters(filters)
            if not (text.strip() or add or subtract):
                return library.newest(which, limit=limit)
            return library.search(
                add=_terms([text, *add] if text.strip() else add),
                subtract=_terms(subtract),
                limit=limit,
                filters=which,
                min_score=min_score,
                only_matches=only_matches,
            )

        return await self._found(find)

    async def similar(
        self,
        *,
        photo: Which,
        add: Terms = [],  # noqa: B006
        subtract: Terms = [],  # noqa: B006
        limit: Limit = 10,
        filters: PhotoFilters | None = None,
        min_score: MinScore = None,
        only_matches: OnlyMatches = False,
    ) -> Annotated[CallToolResult, Found]:
        """Find photos that look like one of the library; the photo itself is left out."""

        def find(library: Library) -> list[Match]:
            return library.similar(
                _term(f"photo:{_id(library, photo)}"),
                add=_terms(add),
                subtract=_terms(subtract),
                limit=limit,
                filters=_filters(filters),
                min_score=min_score,
                only_matches=only_matches,
            )

        return await self._found(find)

    async def classify(
        self,
        labels: Annotated[
            list[str], Field(min_length=1, max_length=_MOST_LABELS, description="To choose from.")
        ],
        templates: Annotated[
            list[str],
            Field(max_length=8, description="Prompts with `{}` for the label: `a photo taken at {}`."),
        ] = [],  # noqa: B006
        min_prob: Annotated[
            float, Field(ge=0, le=1, description="Leave out photos whose best label is less probable.")
        ] = 0.0,
        filters: PhotoFilters | None = None,
        examples: Annotated[int, Field(ge=0, le=20, description="Photos to name for each label.")] = 3,
    ) -> Annotated[CallToolResult, Classified]:
        """Tell all photos apart by labels: how many each fits best, and which most surely.

        Every photo gets one of the labels, so give one for the rest as well ("something else").
        """
        notices: list[str] = []

        def count(library: Library) -> dict[str, Any]:
            choices, which = check_labels(labels), _filters(filters)
            surest, left_out = Surest(len(choices), examples), 0

            def sure() -> Iterator[Predictions]:
                nonlocal left_out
                prompts = templates or DEFAULT_TEMPLATES
                for block in library.classify_blocks(choices, templates=prompts, filters=which):
                    kept = block.at_least(min_prob)
                    left_out += len(block) - len(kept)
                    yield kept

            deque(surest.keep(sure()), maxlen=0)
            order = sorted(range(len(choices)), key=lambda number: -surest.counts[number])
            return {
                "photos": sum(surest.counts),
                "left_out": left_out,
                "labels": [
                    {
                        "label": choices[number],
                        "photos": surest.counts[number],
                        "examples": [_example(one) for one in surest.of(number)],
                    }
                    for number in order
                ],
                "notices": notices,
            }

        return _result(await self._ask(count, notices, lane="long"))

    async def photo(self, photo: Which) -> Annotated[CallToolResult, PhotoDetailsRecord]:
        """Look at one photo: what is known of it, and the picture itself, at most 512 pixels wide or high."""
        notices: list[str] = []
        found = await self._ask(lambda library: library.details(_id(library, photo)), notices)
        images: list[ImageContent] = []
        try:
            picture = await self._ask(lambda _: self._picture(found), notices, lane="pictures")
        except ToolError as error:
            notices.append(f"no picture: {error}")
        else:
            data = base64.b64encode(picture).decode("ascii")
            images.append(ImageContent(type="image", data=data, mime_type="image/webp"))
        record = {
            **_photo_record(found.photo.id, photo_record(found.photo)),
            "root": _spelled(str(found.root)),
            "tags": list(found.tags),
            "modified": found.modified and found.modified.isoformat(),
            "notices": notices,
        }
        return _result(record, images)

    def _picture(self, found: PhotoDetails) -> bytes:
        kept = self._thumbnails.get(found.digest, _IMAGE)
        try:
            return kept or make_thumbnail(found, _IMAGE, self._decoder)[0]
        except OSError as error:
            raise PhotoError((error.strerror or str(error)).lower()) from error

    async def _found(self, find: Callable[[Library], list[Match]]) -> CallToolResult:
        notices: list[str] = []
        matches = await self._ask(find, notices)
        records = [_photo_record(match.photo.id, match_record(match)) for match in matches]
        return _result({"photos": records, "notices": notices})

    async def _ask(self, call: Callable[[Library], T], notices: list[str], *, lane: Lane = "quick") -> T:
        """What `call` returns, given a library.

        Raises:
            ToolError: What the assistant is to be told of what went wrong.
        """
        try:
            return await self._pool.run(call, lane=lane, notices=notices)
        except ClipsearchError as error:
            hint = f" ({error.hint})" if error.hint else ""
            raise ToolError(_spelled(error.message + hint)) from None
        except Exception as error:
            if os.environ.get("CLIPSEARCH_DEBUG"):
                raise
            raise ToolError(f"internal error: {type(error).__name__}: {_spelled(str(error))}") from None


def _result(record: dict[str, Any], images: Sequence[ImageContent] = ()) -> CallToolResult:
    text = TextContent(type="text", text=json.dumps(record, ensure_ascii=False))
    return CallToolResult(content=[text, *images], structured_content=record)


def _photo_record(key: int, record: dict[str, object]) -> dict[str, Any]:
    return {"id": key, **record, "path": _spelled(str(record["path"]))}


def _example(one: Prediction) -> dict[str, Any]:
    probability = round(one.probabilities[one.best], 6)
    return {"id": one.photo, "path": _spelled(one.file), "probability": probability}


def _spelled(text: str) -> str:
    r"""A text that UTF-8 can carry; a byte in it that is not UTF-8 is spelled `\udcXX`."""
    return text.encode("utf-8", "backslashreplace").decode()


def _terms(words: Sequence[str]) -> list[Term]:
    return [_term(word) for word in words]


def _term(word: str) -> Term:
    """A term that names no file and no address."""
    term = parse_term(word, pictures=False)
    match = _BY_ID.fullmatch(term.value) if term.kind == "text" else None
    return term if match is None else replace(term, kind="photo", value=match[1])


def _id(library: Library, which: int | str) -> int:
    """Id of a photo that is named by its id or its path.

    Raises:
        UsageError: No photo of the library has this path.
    """
    match = _BY_ID.fullmatch(str(which)) or re.fullmatch(r"(\d{1,18})", str(which))
    return int(match[1]) if match else library.photo_at(str(which)).id


def _filters(chosen: PhotoFilters | None) -> Filters:
    if chosen is None:
        return parse()
    given = chosen.model_dump()
    if given["inside"] is not None and not Path(given["inside"]).expanduser().is_absolute():
        raise UsageError(f"not an absolute folder: {given['inside']}", "take it from the path of a result")
    return parse(**given)
