from __future__ import annotations

import http.server
import os
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from clipsearch import __version__
from clipsearch.errors import FetchError
from clipsearch.photos.fetch import fetch_image

if TYPE_CHECKING:
    from collections.abc import Iterator

PICTURE = b"\xff\xd8\xff" + os.urandom(200_000)


class Web(http.server.BaseHTTPRequestHandler):
    """A server with one page for each way in which an address can disappoint."""

    protocol_version = "HTTP/1.0"
    seen: list[tuple[str, str]]

    def do_GET(self) -> None:
        self.server.seen.append((self.path, self.headers["User-Agent"]))  # type: ignore[attr-defined]
        name = self.path.partition("?")[0].strip("/").replace("-", "_").replace("%20", "_")
        try:
            getattr(self, f"page_{name}", self.page_missing)()
        except OSError:
            pass  # the client had enough
        finally:
            self.close_connection = True

    def log_message(self, *args: Any) -> None: ...

    def head(self, status: int = 200, **headers: str | int) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def page_picture(self) -> None:
        self.head(Content_Type="image/jpeg", Content_Length=len(PICTURE))
        self.wfile.write(PICTURE)

    def page_my_dog_jpg(self) -> None:
        self.page_picture()

    def page_untyped(self) -> None:
        self.head()
        self.wfile.write(PICTURE)

    def page_missing(self) -> None:
        self.send_error(404)

    def page_html(self) -> None:
        self.head(Content_Type="text/html; charset=utf-8")
        self.wfile.write(b"<html>log in first</html>")

    def page_empty(self) -> None:
        self.head(Content_Type="image/png", Content_Length=0)

    def page_declared_huge(self) -> None:
        self.head(Content_Type="image/png", Content_Length=10**12)

    def page_endless(self) -> None:
        self.head(Content_Type="image/png")
        while True:
            self.wfile.write(bytes(100_000))

    def page_cut(self) -> None:
        self.head(Content_Type="image/png", Content_Length=1_000_000)
        self.wfile.write(bytes(1000))

    def page_drip(self) -> None:
        self.head(Content_Type="image/png", Content_Length=1_000_000)
        for _ in range(100):
            self.wfile.write(b"x")
            time.sleep(0.05)

    def page_drip_headers(self) -> None:
        for _ in range(100):
            self.wfile.write(b"H")
            time.sleep(0.05)

    def page_silent(self) -> None:
        time.sleep(1.5)

    def page_moved(self) -> None:
        self.head(302, Location="/picture")

    def page_loop(self) -> None:
        self.head(302, Location="/loop")

    def page_maze(self) -> None:
        self.head(302, Location=f"/maze?{time.monotonic_ns()}")

    def page_to_file(self) -> None:
        self.head(302, Location="file:///etc/hostname")

    def page_to_ftp(self) -> None:
        self.head(302, Location="ftp://127.0.0.1/picture.jpg")

    def page_nowhere(self) -> None:
        self.head(302)

    def page_garbage(self) -> None:
        self.wfile.write(b"\0\1\2 what is HTTP\r\n\r\n")


@contextmanager
def serving() -> Iterator[http.server.ThreadingHTTPServer]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web)
    server.daemon_threads = True
    server.seen = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def server() -> Iterator[http.server.ThreadingHTTPServer]:
    with serving() as server:
        yield server


@pytest.fixture
def web(server: http.server.ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_port}"


def refusal(url: str, **options: Any) -> str:
    with pytest.raises(FetchError) as caught:
        fetch_image(url, **options)
    assert "\n" not in caught.value.message
    assert caught.value.message.startswith(url)
    assert caught.value.hint
    return caught.value.message[len(url) :]


@pytest.mark.parametrize("page", ["picture", "untyped", "moved", "picture?size=large#top"])
def test_a_picture_arrives_byte_for_byte(web: str, page: str) -> None:
    assert fetch_image(f"{web}/{page}") == PICTURE


def test_an_address_may_have_spaces_and_letters_of_any_alphabet(web: str) -> None:
    assert fetch_image(f"{web}/my dog jpg?owner=Åsa") == PICTURE


def test_the_server_learns_which_program_asks(web: str, server: http.server.ThreadingHTTPServer) -> None:
    fetch_image(f"{web}/picture?who")
    assert ("/picture?who", f"clipsearch/{__version__}") in server.seen  # type: ignore[attr-defined]


def test_a_missing_page_is_named_with_its_status(web: str) -> None:
    assert "404" in refusal(f"{web}/nothing.jpg")


def test_a_web_page_is_not_an_image(web: str) -> None:
    assert "text/html" in refusal(f"{web}/html")


def test_an_empty_answer_is_refused(web: str) -> None:
    assert "empty" in refusal(f"{web}/empty")


@pytest.mark.parametrize("page", ["declared-huge", "endless"])
def test_a_body_over_the_bound_is_refused_whether_it_says_so_or_not(web: str, page: str) -> None:
    assert refusal(f"{web}/{page}", max_bytes=2_000_000).endswith("over 2 MB")


def test_a_body_of_exactly_the_bound_is_taken(web: str) -> None:
    assert len(fetch_image(f"{web}/picture", max_bytes=len(PICTURE))) == len(PICTURE)
    assert "over" in refusal(f"{web}/picture", max_bytes=len(PICTURE) - 1)


def test_a_body_shorter_than_announced_is_no_picture(web: str) -> None:
    assert "broke off" in refusal(f"{web}/cut")


@pytest.mark.parametrize("page", ["silent", "drip", "drip-headers"])
def test_the_time_bound_holds_for_the_whole_answer(web: str, page: str) -> None:
    start = time.monotonic()
    assert "within 0.4 s" in refusal(f"{web}/{page}", timeout=0.4)
    assert time.monotonic() - start < 1.4  # a dripping page would take 5 s


@pytest.mark.parametrize("page", ["loop", "maze"])
def test_redirects_end(web: str, server: http.server.ThreadingHTTPServer, page: str) -> None:
    before = len(server.seen)  # type: ignore[attr-defined]
    assert "redirects" in refusal(f"{web}/{page}")
    assert len(server.seen) - before <= 6  # type: ignore[attr-defined]


@pytest.mark.parametrize(("page", "scheme"), [("to-file", "file:"), ("to-ftp", "ftp:")])
def test_redirects_never_leave_the_web(web: str, page: str, scheme: str) -> None:
    message = refusal(f"{web}/{page}")
    assert "redirect" in message.lower()
    assert scheme in message


def test_a_redirect_without_an_address_is_an_error_status(web: str) -> None:
    assert "302" in refusal(f"{web}/nowhere")


def test_an_answer_that_is_not_http_is_refused(web: str) -> None:
    refusal(f"{web}/garbage")


def test_a_port_where_nobody_listens_refuses() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert "refuses" in refusal(f"http://127.0.0.1:{port}/picture.jpg")


def test_a_server_that_hangs_up_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def hang_up() -> None:
            connection, _ = listening.accept()
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        refusal(f"http://127.0.0.1:{listening.getsockname()[1]}/picture.jpg")
        thread.join()


def test_a_host_that_does_not_exist_is_named() -> None:
    # .invalid never resolves (RFC 2606); without a name server the look-up fails or takes too long instead
    message = refusal("http://no-such-host.invalid/picture.jpg", timeout=5)
    assert "no such host" in message or "within 5 s" in message


def test_a_secure_connection_to_a_plain_server_fails_clearly(web: str) -> None:
    assert "secure" in refusal(web.replace("http:", "https:") + "/picture")


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/hostname",
        "ftp://host/x.jpg",
        "data:image/png;base64,AA",
        "picture.jpg",
        "",
        "http://",
        "http:///x.jpg",
        "http://host:port/x.jpg",
        "http://[::1/x.jpg",
    ],
)
def test_only_web_addresses_are_fetched(url: str) -> None:
    assert "not an http or https address" in refusal(url)
