"""The application: routes, their safety and the page, put together."""

from __future__ import annotations

from contextlib import asynccontextmanager
from importlib.resources import files
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from clipsearch import __version__
from clipsearch.web import api
from clipsearch.web.pool import LibraryPool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from clipsearch.library import Library

_THREADS = 4


def create_app(library: Library) -> FastAPI:
    """The API and the page of a library, as an ASGI application.

    Args:
        library: The library to serve; it stays the caller's own.
    """
    pool = LibraryPool(library, _THREADS)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        pool.close()

    app = FastAPI(title="clipsearch", version=__version__, lifespan=lifespan)
    app.state.pool = pool
    app.include_router(api.router, prefix="/api")
    app.mount("/", StaticFiles(directory=str(files("clipsearch.web") / "page"), html=True))
    return app
