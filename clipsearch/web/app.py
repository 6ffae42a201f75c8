"""The application: routes, their safety and the page, put together."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, nullcontext, suppress
from importlib.resources import files
from typing import TYPE_CHECKING

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from clipsearch import __version__, thumbnails
from clipsearch.errors import ClipsearchError
from clipsearch.photos.guarded import Decoder
from clipsearch.web import grouping, overview, photos, search
from clipsearch.web.errors import handle_errors
from clipsearch.web.guard import LOOPBACK, Activity, Guard
from clipsearch.web.pool import LibraryPool
from clipsearch.web.schemas import ArchiveRequest, Problem
from clipsearch.web.uploads import Uploads
from clipsearch.web.warm import WarmSocket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from typing import Any

    from clipsearch.library import Library

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "It makes no sense."},
    404: {"model": Problem, "description": "There is no such photo, or no more."},
    409: {"model": Problem, "description": "Nothing is indexed yet."},
    413: {"model": Problem, "description": "More than is taken."},
    422: {"model": Problem, "description": "Malformed parameters."},
    503: {"model": Problem, "description": "Too much at once, or the library cannot be used now."},
}


def create_app(
    library: Library,
    *,
    token: str | None = None,
    hosts: Sequence[str] = LOOPBACK,
    thumbnail_bytes: int = thumbnails.MAX_BYTES,
    warm: Callable[[str], None] | None = None,
) -> Starlette:
    """The API and the page of a library, as an ASGI application.

    Args:
        library: The library to serve; it stays the caller's own. It need not be there yet.
        token: What whoever asks has to know, as a bearer token or in the page's address; None for nothing.
        hosts: Names by which this server may be asked for, without port; `*` for any, with a token only.
        thumbnail_bytes: What thumbnails may take on disk, in all.
        warm: Answer searches from this user's shell as well, and tell this why that cannot be.
    """
    activity = Activity()
    pool = LibraryPool(library)
    decoder = Decoder()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        ready = asyncio.create_task(_get_ready(pool))
        shell = WarmSocket(library.path, pool, activity, warm).listening() if warm else nullcontext()
        async with shell:
            yield
        ready.cancel()
        decoder.close()
        pool.close()

    api = _api(library)
    page = StaticFiles(directory=str(files("clipsearch.web") / "page"), html=True)
    app = Starlette(
        routes=[Mount("/api", api), Mount("/", page)],
        middleware=[Middleware(Guard, hosts=hosts, token=token, activity=activity)],
        lifespan=lifespan,
    )
    handle_errors(app, library.path)
    api.state = app.state
    app.state.activity = activity
    app.state.pool = pool
    app.state.decoder = decoder
    app.state.uploads = Uploads()
    app.state.thumbnails = thumbnails.Thumbnails(library.path, limit=thumbnail_bytes)
    return app


async def _get_ready(pool: LibraryPool) -> None:
    """Load the model and open the vectors before the first query needs them."""
    with suppress(ClipsearchError):  # whoever asks next hears of it
        await pool.run(lambda library: library.search("a photo", limit=1))


def _heads(router: APIRouter) -> APIRouter:
    """Whatever can be had can be asked about: HEAD beside each GET."""
    heads = APIRouter()
    for route in router.routes:
        if isinstance(route, APIRoute) and "GET" in (route.methods or ()):
            heads.add_api_route(route.path, route.endpoint, methods=["HEAD"], include_in_schema=False)
    return heads


def _api(library: Library) -> FastAPI:
    api = FastAPI(
        title="clipsearch",
        version=__version__,
        description="Find photos on your own disk by describing them.",
        docs_url=None,  # the viewers for it come from other servers
        redoc_url=None,
        responses=_PROBLEMS,
        separate_input_output_schemas=False,
    )
    for module in (search, photos, overview, grouping):
        api.include_router(module.router)
        api.include_router(_heads(module.router))
    handle_errors(api, library.path)
    described = api.openapi

    def openapi() -> dict[str, Any]:
        schema = described()
        schema["components"]["schemas"].setdefault("ArchiveRequest", ArchiveRequest.model_json_schema())
        return schema

    api.openapi = openapi  # type: ignore[method-assign]
    return api
