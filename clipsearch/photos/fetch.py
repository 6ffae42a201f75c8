"""A picture from the web, for a query: bounded in time, size and redirects, never from another protocol.

Unless allowed, it comes from the public internet only; see `clipsearch.photos.public`.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import threading
import time
import urllib.request
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit, urlunsplit

from clipsearch import __version__
from clipsearch.errors import FetchError
from clipsearch.photos.public import PrivateAddressError, PublicHTTPHandler, PublicHTTPSHandler, Request

if TYPE_CHECKING:
    from typing import IO

# Lets queries fetch pictures from the user's own network, such as a NAS.
ALLOW_PRIVATE = "CLIPSEARCH_ALLOW_PRIVATE_URLS"

_SCHEMES = ("http", "https")
_CHUNK = 64 * 1024

# What servers answer with when there is no picture: error pages, login forms, other media. Everything else is
# left to the decoder, for many servers call pictures application/octet-stream.
_NO_PICTURES = (
    "text/html",
    "application/xhtml+xml",
    "application/json",
    "application/pdf",
    "audio/",
    "video/",
)

_HINT_ADDRESS = "check the address, or download the picture and give its path"
_HINT_SAVE = "download the picture yourself and give its path"
_HINT_LATER = "try again later, or download the picture and give its path"
_HINT_PRIVATE = (
    f"if that is your own server, set {ALLOW_PRIVATE}=1; or download the picture and give its path"
)


def fetch_image(
    url: str, *, timeout: float = 10.0, max_bytes: int = 50_000_000, allow_private: bool | None = None
) -> bytes:
    """Fetch the bytes of a picture; whether they are one is for the decoder to say.

    Proxies are taken from the environment, as everywhere in Python (`HTTPS_PROXY`, `NO_PROXY`); what they
    may reach is for them to say.

    Args:
        url: http or https; so must be everything it redirects to, five times at most.
        timeout: Seconds for the whole of it: name, connection, redirects, body.
        max_bytes: Most bytes of the body.
        allow_private: Whether addresses that are not of the public internet (loopback, link-local, private
            networks, ...) may be reached; when None, if `CLIPSEARCH_ALLOW_PRIVATE_URLS` is 1.

    Raises:
        FetchError: No such host, not a public one, refused, an error status, too slow, too big, empty, cut
            short, a web page.
    """
    if allow_private is None:
        allow_private = os.environ.get(ALLOW_PRIVATE, "").lower() in {"1", "on", "yes", "true"}
    opener = _opener(allow_private=allow_private)
    outcome: SimpleQueue[bytes | Exception] = SimpleQueue()
    deadline = time.monotonic() + timeout

    def work() -> None:
        try:
            outcome.put(_download(opener, url, deadline, max_bytes))
        except Exception as error:  # noqa: BLE001 - handed to the thread that waits
            outcome.put(error)

    # Socket timeouts bound each step, not their sum, and looking up a name has none. So the work is left to a
    # thread that nobody needs to wait for longer than the time given.
    threading.Thread(target=work, name="fetch", daemon=True).start()
    try:
        result = outcome.get(timeout=timeout)
    except Empty:
        result = TimeoutError()
    if isinstance(result, bytes):
        return result
    if isinstance(result, FetchError):
        raise result
    raise _explained(url, result, timeout) from result


def _opener(*, allow_private: bool) -> urllib.request.OpenerDirector:
    opener = urllib.request.OpenerDirector()  # build_opener would add ftp:, file: and data:
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler() if allow_private else PublicHTTPHandler(),
        urllib.request.HTTPSHandler() if allow_private else PublicHTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener


def _download(opener: urllib.request.OpenerDirector, url: str, deadline: float, max_bytes: int) -> bytes:
    request = Request(
        _encoded(url), headers={"User-Agent": f"clipsearch/{__version__}", "Accept": "image/*,*/*;q=0.5"}
    )
    with opener.open(request, timeout=max(0.001, deadline - time.monotonic())) as response:
        content_type = response.headers.get_content_type()
        if response.headers.get("Content-Type") and content_type.startswith(_NO_PICTURES):
            raise FetchError(f"{url}: the address leads to {content_type}, not to an image", _HINT_ADDRESS)
        declared = _declared_length(response)
        if declared is not None and declared > max_bytes:
            raise _too_big(url, max_bytes)
        body = bytearray()
        while chunk := response.read1(_CHUNK):
            body += chunk
            if len(body) > max_bytes:
                raise _too_big(url, max_bytes)
            if time.monotonic() > deadline:
                raise TimeoutError
    if declared is not None and len(body) < declared:
        raise http.client.IncompleteRead(bytes(body), declared - len(body))
    if not body:
        raise FetchError(f"{url}: the answer is empty", _HINT_ADDRESS)
    return bytes(body)


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = 5
    max_repeats = 2

    def redirect_request(  # noqa: PLR0917 - the signature is urllib's
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        scheme = urlsplit(newurl).scheme.lower()
        if scheme not in _SCHEMES:
            fp.close()
            raise FetchError(f"{req.full_url}: redirects to {scheme}:, which is not followed", _HINT_SAVE)
        followed = super().redirect_request(req, fp, code, msg, headers, newurl)
        return None if followed is None else Request(followed.full_url, headers=followed.headers)


def _encoded(url: str) -> str:
    """The address as it goes over the wire: spaces and letters beyond ASCII escaped, the rest as typed."""
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port  # a port that is no number raises here
        netloc = parts.netloc
        if host and not netloc.isascii():
            netloc = host.encode("idna").decode() + ("" if port is None else f":{port}")
    except ValueError:
        host, netloc, parts = None, "", urlsplit("")
    if parts.scheme.lower() not in _SCHEMES or not host:
        raise FetchError(f"{url}: not an http or https address", "write it as https://host/picture.jpg")
    safe = "/%:=&?~#+!$,;'@()*[]"
    return urlunsplit((parts.scheme, netloc, quote(parts.path, safe), quote(parts.query, safe), ""))


def _declared_length(response: http.client.HTTPResponse) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() else None


def _too_big(url: str, max_bytes: int) -> FetchError:
    return FetchError(f"{url}: over {max_bytes / 1e6:g} MB", _HINT_SAVE)


def _explained(url: str, error: Exception, timeout: float) -> FetchError:  # noqa: PLR0911 - one line a cause
    host = urlsplit(url.strip()).hostname or url
    if isinstance(error, PrivateAddressError):
        return FetchError(f"{url}: leads to {error}: no public address", _HINT_PRIVATE)
    if isinstance(error, HTTPError):
        error.close()
        if error.msg.startswith(_Redirects.inf_msg):
            return FetchError(f"{url}: redirects in a circle or too often", _HINT_SAVE)
        return FetchError(f"{url}: the server says {error.code} {error.reason}", _HINT_ADDRESS)
    cause = error.reason if isinstance(error, URLError) and isinstance(error.reason, Exception) else error
    if isinstance(cause, TimeoutError):
        return FetchError(f"{url}: no complete answer within {timeout:g} s", _HINT_LATER)
    if isinstance(cause, socket.gaierror):
        return FetchError(f"{url}: no such host: {host}", "check the address and the network connection")
    if isinstance(cause, ConnectionRefusedError):
        return FetchError(f"{url}: {host} refuses the connection", _HINT_ADDRESS)
    if isinstance(cause, ssl.SSLError):
        return FetchError(f"{url}: no secure connection to {host} ({cause.reason or cause})", _HINT_SAVE)
    if isinstance(cause, http.client.IncompleteRead | ConnectionError):
        return FetchError(f"{url}: the connection broke off", _HINT_LATER)
    if isinstance(cause, OSError):
        return FetchError(f"{url}: {(cause.strerror or str(cause)).lower()}", _HINT_LATER)
    return FetchError(f"{url}: no usable answer ({type(cause).__name__})", _HINT_ADDRESS)
