"""What went wrong, as HTTP has it: a status, and a body with a message and a hint."""

from __future__ import annotations

import json
import logging
import os
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from clipsearch.errors import (
    ClipsearchError,
    FetchError,
    LibraryError,
    ModelError,
    NoLibraryError,
    PhotoError,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI
    from starlette.applications import Starlette
    from starlette.requests import Request

logger = logging.getLogger("clipsearch.web")


class BusyError(ClipsearchError):
    """More is asked at once than can be answered."""


class NotFoundError(UsageError):
    """There is no such photo, or no more."""


class TooLargeError(UsageError):
    """More was sent than is taken."""


# The first that fits.
_STATUS: tuple[tuple[type[ClipsearchError], HTTPStatus], ...] = (
    (NotFoundError, HTTPStatus.NOT_FOUND),
    (TooLargeError, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (UsageError, HTTPStatus.BAD_REQUEST),
    (PhotoError, HTTPStatus.BAD_REQUEST),
    (FetchError, HTTPStatus.BAD_REQUEST),
    (NoLibraryError, HTTPStatus.CONFLICT),
    (BusyError, HTTPStatus.SERVICE_UNAVAILABLE),
    (LibraryError, HTTPStatus.SERVICE_UNAVAILABLE),
    (ModelError, HTTPStatus.SERVICE_UNAVAILABLE),
)
_HINTS = {
    HTTPStatus.NOT_FOUND: "what there is: /api/openapi.json",
    HTTPStatus.METHOD_NOT_ALLOWED: "what there is: /api/openapi.json",
}


def problem(status: int, message: str, hint: str = "", headers: Mapping[str, str] | None = None) -> Response:
    """An answer that says what went wrong."""
    body = json.dumps({"error": message, "hint": hint}).encode("ascii")
    return Response(body, status, headers, "application/json")


def status_of(error: ClipsearchError) -> HTTPStatus:
    """The status that an error has over HTTP."""
    found = (status for kind, status in _STATUS if isinstance(error, kind))
    return next(found, HTTPStatus.INTERNAL_SERVER_ERROR)


def internal(error: BaseException) -> Response:
    """The answer to an error that nobody expected; the log has more."""
    logger.error(
        "internal error: %s: %s",
        type(error).__name__,
        error,
        exc_info=bool(os.environ.get("CLIPSEARCH_DEBUG")),
    )
    hint = "run the server with CLIPSEARCH_DEBUG=1 for the traceback"
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, f"internal error: {type(error).__name__}", hint)


def handle_errors(app: FastAPI | Starlette, library: Path) -> None:
    """Have an application answer with `problem` whatever happens.

    Args:
        app: The application.
        library: The library's folder, which errors do not name.
    """

    def discreet(text: str) -> str:
        text = text.replace(str(library), "the library")
        home = str(Path.home())
        return text if home == Path(home).anchor else text.replace(home, "~")

    async def expected(_: Request, error: Exception) -> Response:
        assert isinstance(error, ClipsearchError)  # noqa: S101 - for the type checker
        status = status_of(error)
        headers = {"Retry-After": "1"} if status == HTTPStatus.SERVICE_UNAVAILABLE else None
        return problem(status, discreet(error.message), discreet(error.hint), headers)

    async def of_http(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - for the type checker
        hint = _HINTS.get(HTTPStatus(error.status_code), "")
        return problem(error.status_code, str(error.detail).lower(), hint, error.headers)

    async def malformed(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - for the type checker
        wrong = [f"{_name(one['loc'])}: {one['msg'][:1].lower()}{one['msg'][1:]}" for one in error.errors()]
        message = "; ".join(wrong[:3])
        return problem(HTTPStatus.UNPROCESSABLE_ENTITY, message, _HINTS[HTTPStatus.NOT_FOUND])

    async def too_slow(_: Request, _error: Exception) -> Response:
        return problem(HTTPStatus.REQUEST_TIMEOUT, "the request takes too long", "send it faster")

    async def gone(_: Request, _error: Exception) -> Response:
        return Response()  # which nobody gets

    async def unexpected(_: Request, error: Exception) -> Response:
        return internal(error)

    app.add_exception_handler(ClipsearchError, expected)
    app.add_exception_handler(HTTPException, of_http)
    app.add_exception_handler(RequestValidationError, malformed)
    app.add_exception_handler(TimeoutError, too_slow)
    app.add_exception_handler(ClientDisconnect, gone)
    app.add_exception_handler(Exception, unexpected)


def _name(place: tuple[int | str, ...]) -> str:
    """Of a parameter, from where pydantic found it: `("query", "limit")`."""
    return str(place[1]) if len(place) > 1 else "body"
