"""Who may ask: the first thing that a request meets, and the last that an answer passes.

A page of another site must not be able to look at photos through the browser of whoever has the server
running: neither by a name of its own that leads to this address (DNS rebinding), which `Host` gives away, nor
by asking across sites, which `Sec-Fetch-Site`, `Origin` and `Referer` give away.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse

from clipsearch.web.errors import TooLargeError, internal, problem, status_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
"""Names by which a server on this machine is asked for."""
ANY_HOST = "*"
PICTURE_BYTES = 64_000_000
"""Largest body of an uploaded picture."""
_BODY_BYTES = 1_000_000  # of any other
_BODY_S = 300.0  # how long a body may take in all; `running` ends connections that stall
_AT_ONCE = 500  # requests that are answered at the same time
_UPLOADS = 16  # of them such that send a large body
_PICTURES = "/api/pictures"
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:/@?#\s]+)(?::\d+)?", re.IGNORECASE)
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:;"
        " media-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none';"
        " manifest-src 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


@dataclass(slots=True)
class Activity:
    """What is going on.

    Attributes:
        active: Requests that are being answered.
        last: When a request came or an answer ended last, by `time.monotonic`.
    """

    active: int = 0
    last: float = field(default_factory=time.monotonic)

    @property
    def idle_s(self) -> float:
        """Seconds since anything was asked or answered."""
        return 0.0 if self.active else time.monotonic() - self.last

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Something is, meanwhile."""
        self.last = time.monotonic()
        self.active += 1
        try:
            yield
        finally:
            self.active -= 1
            self.last = time.monotonic()


class Guard:
    """Lets a request through to the application, or refuses it.

    Args:
        app: The application.
        hosts: Names of this server in `Host`, without port; `ANY_HOST` for any.
        token: What whoever asks has to know; None for nothing.
        activity: Is kept up to date.
    """

    def __init__(self, app: ASGIApp, *, hosts: Sequence[str], token: str | None, activity: Activity) -> None:
        self._app = app
        self._activity = activity
        self._hosts = frozenset(host.lower() for host in hosts)
        self._token = token
        self._uploads = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send)
        is_upload = exchange.limit > _BODY_BYTES
        self._uploads += is_upload
        try:
            with self._activity.going_on():
                refusal = self._refusal(scope, is_upload=is_upload)
                if refusal is not None:
                    await refusal(scope, exchange.receive, exchange.send)
                else:
                    await exchange.run(self._app)
        finally:
            self._uploads -= is_upload

    def _refusal(self, scope: Scope, *, is_upload: bool) -> Response | None:
        headers = Headers(scope=scope)
        if self._activity.active > _AT_ONCE or (is_upload and self._uploads > _UPLOADS):
            again = {"Retry-After": "1"}
            return problem(
                HTTPStatus.SERVICE_UNAVAILABLE, "too many requests at once", "try again in a moment", again
            )
        host = headers.get("host", "")
        match = _HOST.fullmatch(host)
        if match is None or (ANY_HOST not in self._hosts and match[1].lower() not in self._hosts):
            hint = "ask for it by an address that `clipsearch serve` names"
            return problem(HTTPStatus.FORBIDDEN, "this server does not go by that name", hint)
        if _is_foreign(scope, headers, host):
            return problem(
                HTTPStatus.FORBIDDEN, "another site may not ask", "open the page of `clipsearch serve` itself"
            )
        return self._authorized(scope, headers)

    def _authorized(self, scope: Scope, headers: Headers) -> Response | None:
        if self._token is None:
            return None
        cookie = f"clipsearch-{(scope.get('server') or ('', 0))[1]}"
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._is_token(bearer.strip()):
            return None
        if self._is_token(_cookies(headers.get("cookie", "")).get(cookie, "")):
            return None
        asked = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = dict(asked).get("token")
        if given is None or scope["method"] != "GET" or scope["path"].startswith("/api"):
            message, hint = "a token is needed", "open the whole address that `clipsearch serve` has shown"
        elif self._is_token(given):
            rest = urlencode([pair for pair in asked if pair[0] != "token"])
            # Not the path as it came: one that begins with two slashes would lead to another server.
            place = "/" + quote(scope["path"].lstrip("/")) + (f"?{rest}" if rest else "")
            answer = RedirectResponse(place, HTTPStatus.SEE_OTHER)
            answer.set_cookie(cookie, given, httponly=True, samesite="strict", path="/")
            return answer
        else:
            message, hint = "the token is not right", "look again at what `clipsearch serve` has shown"
        return problem(HTTPStatus.UNAUTHORIZED, message, hint, {"WWW-Authenticate": "Bearer"})

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(errors="replace"), (self._token or "").encode())


class _Exchange:
    """One request and its answer, within bounds."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._is_api = scope["path"].startswith("/api")
        upload = scope["method"] == "POST" and scope["path"] == _PICTURES
        self.limit = PICTURE_BYTES if upload else _BODY_BYTES
        self._came = 0
        self._complete = False
        self._started = False
        self._end = time.monotonic() + _BODY_S

    async def run(self, app: ASGIApp) -> None:
        """Have the application answer; what it raises, though it should not, is an answer, too."""
        said = int(Headers(scope=self._scope).get("content-length", "0"))  # h11 has seen to digits
        if said > self.limit:
            error = self._too_large()
            refusal = problem(status_of(error), error.message, error.hint)
            await refusal(self._scope, self.receive, self.send)
            return
        try:
            await app(self._scope, self.receive, self.send)
        except Exception as error:  # noqa: BLE001 - the boundary
            if not self._started:
                await internal(error)(self._scope, self.receive, self.send)

    async def receive(self) -> Message:
        """The next part of the request."""
        if self._complete:
            return await self._receive()  # waits for the client to go away
        async with asyncio.timeout(max(0.0, self._end - time.monotonic())):
            message = await self._receive()
        self._complete = not message.get("more_body", False)
        self._came += len(message.get("body", b""))
        if self._came > self.limit:
            self._complete = True
            raise self._too_large()
        return message

    def _too_large(self) -> TooLargeError:
        return TooLargeError(f"more than {self.limit // 1_000_000} MB", "send a smaller one")

    async def send(self, message: Message) -> None:
        """The next part of the answer."""
        if message["type"] == "http.response.start":
            self._started = True
            headers = MutableHeaders(raw=list(message["headers"]))
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-store" if self._is_api else "no-cache")
            for notice in dict.fromkeys(self._scope.get("notices", ())):
                headers.append("X-Notice", quote(notice, safe=" ,;:()'", errors="surrogateescape"))
            message = {**message, "headers": headers.raw}
        await self._send(message)


def _is_foreign(scope: Scope, headers: Headers, host: str) -> bool:
    """Whether a page of another site has asked, as far as the browser tells."""
    site = headers.get("sec-fetch-site", "none")
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
        return True
    if scope["method"] == "GET" and not scope["path"].startswith("/api"):
        # Whoever follows a link to the page sees the page; all that it has in it, it asks for itself.
        is_followed = headers.get("sec-fetch-mode", "navigate") == "navigate"
        return not is_followed and site not in ("same-origin", "none")
    referer = headers.get("referer")
    if referer is not None and urlsplit(referer).netloc.lower() != host.lower():
        return True
    return site not in ("same-origin", "none")


def _cookies(header: str) -> dict[str, str]:
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(header).items()}
    except CookieError:
        return {}
