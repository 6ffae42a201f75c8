"""What endpoints take in common: the library, filters, terms, pages."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar
from urllib.parse import parse_qsl

from fastapi import Depends, Path, Query, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from clipsearch.errors import UsageError
from clipsearch.filters import parse
from clipsearch.records import plain
from clipsearch.terms import parse_term
from clipsearch.types import Filters, Term

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence

    from clipsearch.library import Library
    from clipsearch.web.pool import Lane, LibraryPool
    from clipsearch.web.uploads import Uploads

T = TypeVar("T")

_MOST_TERMS = 32
_MOST_ID = 2**63 - 1  # SQLite's
_TEXT = 2_000  # characters; a model reads the first few hundred
_PATH = 4_096
_PICTURE = re.compile(r"(photo|upload):([0-9a-f]{1,64})")


class Asker:
    """Asks the library on behalf of one request; what it has to say goes out with the answer."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._pool: LibraryPool = request.app.state.pool
        self._uploads: Uploads = request.app.state.uploads
        self.notices: list[str] = request.scope.setdefault("notices", [])

    async def __call__(self, call: Callable[[Library], T], *, lane: Lane = "quick") -> T:
        """What `call` returns, given a library; dropped when the client goes away before it has begun.

        Raises:
            ClientDisconnect: The client has gone away.
        """
        asked = asyncio.ensure_future(self._pool.run(call, lane=lane, notices=self.notices))
        gone = asyncio.ensure_future(self._gone())
        try:
            await asyncio.wait((asked, gone), return_when=asyncio.FIRST_COMPLETED)
            if not asked.done():
                gone.result()  # which may be that it sends too much
                raise ClientDisconnect
            return asked.result()
        finally:
            asked.cancel()
            gone.cancel()

    def stream(self, start: Callable[[Library], Iterator[T]]) -> AsyncIterator[list[T]]:
        """What an iterator of a library yields, in blocks."""
        return self._pool.stream(start, notices=self.notices)

    def terms(self, library: Library, words: Iterable[str]) -> list[Term]:
        """Terms of a query as they were typed; none of them ever names a file or an address.

        Raises:
            UsageError: One of them makes no sense, or a picture is no longer known.
        """
        return [self._term(library, word) for word in words]

    def _term(self, library: Library, word: str) -> Term:
        term = parse_term(word, pictures=False)
        match = _PICTURE.fullmatch(term.value)
        if term.kind != "text" or match is None:
            return term
        if match[1] == "upload":
            return replace(term, kind="embedding", vector=self._uploads.vector(match[2], library.model()))
        if not match[2].isdecimal() or int(match[2]) > _MOST_ID:
            raise UsageError(f"not the id of a photo: {match[2]}", "take it from a result")
        return replace(term, kind="photo", value=match[2])

    async def _gone(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass


# Asynchronous, though nothing is waited for: FastAPI hands others to a thread, a millisecond each.
async def _asker(request: Request) -> Asker:
    return Asker(request)


Ask = Annotated[Asker, Depends(_asker)]


async def _filters(
    *,
    request: Request,
    inside: Annotated[
        str | None,
        Query(alias="in", max_length=_PATH, description="In this folder and below: its absolute path."),
    ] = None,
    glob: Annotated[
        str | None, Query(max_length=200, description="Named like this: `*.heic`, `2023/*`.")
    ] = None,
    after: Annotated[
        str | None,
        Query(max_length=30, description="Taken then or later: `2023`, `2023-05`, `2023-05-17T18:30`."),
    ] = None,
    before: Annotated[str | None, Query(max_length=30, description="Taken before then.")] = None,
    on: Annotated[str | None, Query(max_length=30, description="Taken in that year, month or day.")] = None,
    camera: Annotated[
        str | None, Query(max_length=200, description="By a camera with this in its name.")
    ] = None,
    lens: Annotated[
        str | None, Query(max_length=200, description="With a lens with this in its name.")
    ] = None,
    near: Annotated[str | None, Query(max_length=60, description="Taken near a place: `38.7,-9.1`.")] = None,
    within: Annotated[str | None, Query(max_length=30, description="How near, without it `10km`.")] = None,
    shape: Annotated[
        Literal["landscape", "portrait", "square"] | None, Query(description="Wider than high, ...")
    ] = None,
    min_size: Annotated[
        str | None,
        Query(max_length=30, description="At least `1920x1080`, `3000` (the longer side) or `8MP`."),
    ] = None,
    tag: Annotated[list[str], Query(max_length=20, description="Has this tag; of several, all.")] = [],  # noqa: B006
    text: Annotated[
        str | None,
        Query(max_length=_TEXT, description="Has these words in it, or in its caption: `invoice 2023`."),
    ] = None,
) -> Filters:
    return parse(
        inside=None if inside is None else folder(request, "in"),
        glob=glob,
        after=after,
        before=before,
        on=on,
        camera=camera,
        lens=lens,
        near=near,
        within=within,
        shape=shape,
        min_size=min_size,
        tags=tag,
        text=text,
    )


def folder(request: Request, name: str) -> str:
    """An absolute folder in the query, where `%FF` is that byte, for not all names are UTF-8.

    Raises:
        UsageError: It is none.
    """
    query = request.scope["query_string"].decode("latin-1")
    path: str = dict(parse_qsl(query, keep_blank_values=True, errors="surrogateescape"))[name]
    if not PurePath(path).is_absolute() or "\0" in path:
        raise UsageError("not an absolute folder", "take it from /api/folders")
    return path


Filtered = Annotated[Filters, Depends(_filters)]
PhotoId = Annotated[int, Path(ge=1, le=_MOST_ID, description="Of a photo, from any result.")]
Text = Annotated[
    str,
    Query(
        max_length=_TEXT,
        description="A text; with a weight in front as `2:text`; `@concept`; `photo:ID`; `upload:ID`."
        " Never a path or an address.",
    ),
]
Words = Annotated[list[str], Query(max_length=_MOST_TERMS, description="Further terms, as `q`.")]
Less = Annotated[list[str], Query(max_length=_MOST_TERMS, description="Less like these terms.")]
Limit = Annotated[int, Query(ge=1, le=1_000, description="At most this many; a shorter page is the last.")]
Offset = Annotated[int, Query(ge=0, le=10_000_000, description="Leave out so many of the best.")]
MinScore = Annotated[
    float | None,
    Query(ge=-1, le=1, allow_inf_nan=False, description="Only scores (cosine) of at least this."),
]
OnlyMatches = Annotated[bool, Query(description="Leave out what matches no better than chance (weak).")]


@dataclass(frozen=True, slots=True)
class Ranking:
    """What searches have in common: further terms, which photos, and which page of them."""

    add: list[str]
    subtract: list[str]
    filters: Filters
    limit: int
    offset: int
    min_score: float | None
    only_matches: bool

    def options(self, ask: Asker, library: Library) -> dict[str, Any]:
        """As `Library.search` and `Library.similar` take them, but for what is added."""
        return {
            "subtract": ask.terms(library, self.subtract),
            "filters": self.filters,
            "limit": self.limit,
            "offset": self.offset,
            "min_score": self.min_score,
            "only_matches": self.only_matches,
        }


async def _ranking(
    *,
    filters: Filtered,
    add: Words = [],  # noqa: B006 - FastAPI copies defaults
    subtract: Less = [],  # noqa: B006
    limit: Limit = 50,
    offset: Offset = 0,
    min_score: MinScore = None,
    only_matches: OnlyMatches = False,
) -> Ranking:
    check_lengths([*add, *subtract])
    return Ranking(add, subtract, filters, limit, offset, min_score, only_matches)


Ranked = Annotated[Ranking, Depends(_ranking)]


def check_lengths(words: Sequence[str]) -> None:
    """Refuse texts longer than any that means something.

    Raises:
        UsageError: One of them is.
    """
    if any(len(word) > _TEXT for word in words):
        raise UsageError(f"a text of more than {_TEXT:,} characters", "say it in fewer words")


def as_json(value: Any) -> Response:
    r"""An answer in plain ASCII; a byte of a file name that is not UTF-8 is `\udcXX`."""
    text = json.dumps(value, default=plain, separators=(",", ":"))
    return Response(text.encode("ascii"), media_type="application/json")
