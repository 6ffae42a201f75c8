"""Serving the application: addresses, slow clients, when to end."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import secrets
import socket
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from clipsearch.errors import UsageError
from clipsearch.web.app import create_app
from clipsearch.web.errors import problem
from clipsearch.web.guard import ANY_HOST, LOOPBACK

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator

    from clipsearch.library import Library
    from clipsearch.web.guard import Activity

PORT = 7878
_PORTS = 20  # that are tried from there on
_HEAD_S = 10.0  # how long the head of a request may take
_STALL_S = 20.0  # how long a client may send nothing of a body, or take nothing of an answer
_HEAD_BYTES = 65_536  # labels to classify by are in it
_CONNECTIONS = 800
_GRACE_S = 1  # for answers that are on their way when the end comes
_TOKEN_BYTES = 24


def is_loopback(host: str) -> bool:
    """Whether an address is of this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def new_token() -> str:
    """A secret that fits into an address."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def listen(host: str, port: int | None) -> socket.socket:
    """A socket that listens.

    Args:
        host: Address or name.
        port: 0 for any that is free; None for `PORT`, or the next one that is free.

    Raises:
        UsageError: The address is none of this machine, or the port is taken.
    """
    choices = range(PORT, PORT + _PORTS) if port is None else (port,)
    for choice in choices:
        try:
            family, _, _, _, address = socket.getaddrinfo(host, choice, type=socket.SOCK_STREAM)[0]
            listening = socket.create_server(address[:2], family=family, backlog=_CONNECTIONS)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and choice != choices[-1]:
                continue
            raise _refused(host, choice, error) from None
        # Connections inherit it. Without it an answer's body waits 40 ms, until the client has acknowledged
        # its head; asyncio sees to that for sockets of its own making only.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    raise AssertionError("there are always choices")


def _refused(host: str, port: int, error: OSError) -> UsageError:
    if error.errno == errno.EADDRINUSE:
        hint = "another program listens there; name another port, or --port 0 for any that is free"
        return UsageError(f"port {port} is taken", hint)
    if error.errno == errno.EACCES:
        return UsageError(f"port {port} is not ours to use", "name one above 1023")
    return UsageError(f"cannot listen on {host}: {(error.strerror or str(error)).lower()}", "try 127.0.0.1")


class Serving:
    """A library, served until it is told to stop.

    Args:
        library: The library; it stays the caller's own.
        listening: Sockets that listen.
        token: See `create_app`; needed where others than this machine can connect.
        warm: See `create_app`.

    Attributes:
        app: The ASGI application.
    """

    def __init__(
        self,
        library: Library,
        listening: list[socket.socket],
        *,
        token: str | None,
        warm: Callable[[str], None] | None = None,
    ) -> None:
        # Whoever knows the token may come by any name.
        hosts = LOOPBACK if token is None else (ANY_HOST,)
        self.app = create_app(library, token=token, hosts=hosts, warm=warm)
        self._listening = listening
        self._token = token

    @property
    def url(self) -> str:
        """Where to look, token included."""
        host, port = self._listening[0].getsockname()[:2]
        if host in ("0.0.0.0", "::"):  # noqa: S104 - that is the question
            host = _own_address()
        spelled = f"[{host}]" if ":" in host else host
        return f"http://{spelled}:{port}/" + (f"?token={self._token}" if self._token else "")

    @property
    def idle_s(self) -> float:
        """Seconds since anything was asked or answered."""
        activity: Activity = self.app.state.activity
        return activity.idle_s

    def run(self, stop: Callable[[], bool]) -> None:
        """Serve until `stop`, which is asked ten times a second, says True."""
        config = uvicorn.Config(
            self.app,
            http=_Connection,
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            h11_max_incomplete_event_size=_HEAD_BYTES,
            timeout_graceful_shutdown=_GRACE_S,
        )
        _Server(config, stop).run(self._listening)


class _Server(uvicorn.Server):
    """Ends when it is told to, and leaves signals to the command."""

    def __init__(self, config: uvicorn.Config, stop: Callable[[], bool]) -> None:
        super().__init__(config)
        self._stop = stop

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or self._stop()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Connection(H11Protocol):
    """A connection that ends when its client is too slow: others need the room."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._due: asyncio.TimerHandle | None = None
        self._unsent: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > _CONNECTIONS:
            transport.abort()
            return
        self._due = self.loop.call_later(_HEAD_S, transport.abort)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        state = self.conn.their_state
        if state is h11.SEND_BODY:
            self._wait(_STALL_S)
        elif state is h11.IDLE and self.conn.trailing_data[0]:
            if self._due is None:  # a byte now and then is no reason to wait longer
                self._wait(_HEAD_S)
        else:
            self._wait(None)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, in the form that all errors have."""
        hint = "send a request as HTTP/1.1 has it"
        answer = problem(HTTPStatus.BAD_REQUEST, msg.lower().rstrip("."), hint, {"Connection": "close"})
        head = h11.Response(status_code=answer.status_code, headers=answer.raw_headers, reason=b"Bad Request")
        for event in (head, h11.Data(data=bytes(answer.body)), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unsent = self.loop.call_later(_STALL_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unsent is not None:
            self._unsent.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait(None)
        if self._unsent is not None:
            self._unsent.cancel()
        super().connection_lost(exc)

    def _wait(self, seconds: float | None) -> None:
        if self._due is not None:
            self._due.cancel()
        self._due = None if seconds is None else self.loop.call_later(seconds, self.transport.abort)


def _own_address() -> str:
    """The address by which this machine goes out, for others to come in; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # reserved for documentation (RFC 5737)
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"
