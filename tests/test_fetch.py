from __future__ import annotations

import http.server
import os
import socket
import ssl
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import trustme

from clipsearch import __version__
from clipsearch.errors import FetchError
from clipsearch.photos.fetch import ALLOW_PRIVATE, fetch_image
from clipsearch.photos.public import is_public

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Promised

PICTURE = b"\xff\xd8\xff" + os.urandom(200_000)
NEIGHBOR = "127.0.0.2"

# No connection may even be tried to any of these.
PRIVATE = [
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "0.0.0.0",
    "0",
    "localhost",
    "LOCALHOST",
    "%31%32%37.0.0.1",
    "①②⑦.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.178.1",
    "100.64.0.1",
    "169.254.169.254",
    "0xa9fea9fe",
    "192.0.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "[::]",
    "[::1]",
    "[::127.0.0.1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:a9fe:a9fe]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b:1::10.0.0.1]",
    "[2002:7f00:1::]",
    "[2001:0:7f00:1::]",
    "[2001:db8::1]",
    "[fe80::1]",
    "[fec0::1]",
    "[fc00::1]",
    "[fd12:3456::1]",
    "[ff02::1]",
    "[fd00:ec2::254]",
]
PUBLIC = [
    "1.1.1.1",
    "9.255.255.255",
    "11.0.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.167.255.255",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "::ffff:1.1.1.1",
    "64:ff9b::101:101",
    "2002:101:101::",
]


class Web(http.server.BaseHTTPRequestHandler):
    """A server with one page for each way in which an address can disappoint."""

    protocol_version = "HTTP/1.0"
    seen: list[tuple[str, str]]

    def do_GET(self) -> None:
        self.server.seen.append((self.path, self.headers["User-Agent"]))  # type: ignore[attr-defined]
        path = urlsplit(self.path).path  # a proxy is asked for whole addresses
        name = path.strip("/").replace("-", "_").replace("%20", "_")
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

    def page_to_neighbor(self) -> None:
        self.head(302, Location=f"http://{NEIGHBOR}:{self.server.server_port}/picture")  # type: ignore[attr-defined]

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
        fetch_image(url, **{"allow_private": True, **options})
    assert "\n" not in caught.value.message
    assert caught.value.message.startswith(url)
    assert caught.value.hint
    return caught.value.message[len(url) :]


@pytest.mark.parametrize("page", ["picture", "untyped", "moved", "picture?size=large#top"])
def test_a_picture_arrives_byte_for_byte(web: str, page: str) -> None:
    assert fetch_image(f"{web}/{page}", allow_private=True) == PICTURE


def test_an_address_may_have_spaces_and_letters_of_any_alphabet(web: str) -> None:
    assert fetch_image(f"{web}/my dog jpg?owner=Åsa", allow_private=True) == PICTURE


def test_the_server_learns_which_program_asks(web: str, server: http.server.ThreadingHTTPServer) -> None:
    fetch_image(f"{web}/picture?who", allow_private=True)
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
    assert fetch_image(f"{web}/picture", max_bytes=len(PICTURE), allow_private=True) == PICTURE
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
        "http://ü..example/x.jpg",
    ],
)
def test_only_web_addresses_are_fetched(url: str) -> None:
    assert "not an http or https address" in refusal(url)


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Where a connection was tried; none is made, for there may be no network, or one to leave alone."""
    places: list[Any] = []

    def refuse(_: socket.socket, place: Any) -> None:
        places.append(place)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket.socket, "connect", refuse)
    return places


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Let every name have these addresses, other ones at each look-up; returns the names looked up."""
    asked: list[str] = []

    def look_up(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        found = answers[min(len(asked), len(answers)) - 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


def test_private_addresses_are_refused_however_they_are_spelt(
    connected: list[Any], promised: Promised
) -> None:
    for host in PRIVATE:
        for scheme in ("http", "https"):
            message = refusal(f"{scheme}://{host}:8080/picture.jpg", allow_private=False)
            assert "no public address" in message, (host, message)
    assert not connected
    promised("An image URL never leads into a private network", 2 * len(PRIVATE), "spellings of addresses")


def test_public_addresses_are_connected_to(connected: list[Any]) -> None:
    for address in PUBLIC:
        host = f"[{address}]" if ":" in address else address
        assert "refuses" in refusal(f"http://{host}/picture.jpg", allow_private=False)
        assert connected.pop()[0] == address


def test_the_error_names_the_setting_that_allows_it(web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FetchError) as caught:
        fetch_image(f"{web}/picture")
    assert caught.value.message == f"{web}/picture: leads to 127.0.0.1: no public address"
    assert f"{ALLOW_PRIVATE}=1" in caught.value.hint
    monkeypatch.setenv(ALLOW_PRIVATE, "1")
    assert fetch_image(f"{web}/picture") == PICTURE
    monkeypatch.setenv(ALLOW_PRIVATE, "0")
    refusal(f"{web}/picture", allow_private=None)


def test_a_name_with_one_private_address_among_public_ones_is_refused(
    connected: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, ["1.1.1.1", "192.168.0.1"])
    assert "pictures.example, which is 192.168.0.1" in refusal(
        "http://pictures.example/a.jpg", allow_private=False
    )
    assert not connected


def test_a_host_may_be_named_in_any_alphabet(connected: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = resolving(monkeypatch, ["1.1.1.1"])
    assert "refuses" in refusal("http://bilder.пример:81/hund.jpg", allow_private=False)
    assert asked == ["bilder.xn--e1afmkfd"]
    assert connected == [("1.1.1.1", 81)]


def test_a_name_is_looked_up_once_and_the_checked_address_is_connected_to(
    connected: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = resolving(monkeypatch, ["1.1.1.1", "8.8.8.8"], ["127.0.0.1"])  # what DNS rebinding does
    assert "refuses" in refusal("https://pictures.example/a.jpg", allow_private=False)
    assert asked == ["pictures.example"]
    assert connected == [("1.1.1.1", 443), ("8.8.8.8", 443)]


def test_a_redirect_to_a_private_address_is_refused(web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback has many addresses: here one of them counts as public, and leads to another."""
    monkeypatch.setattr("clipsearch.photos.public.is_public", lambda address: address != NEIGHBOR)
    assert fetch_image(f"{web}/moved", allow_private=False) == PICTURE
    assert f"leads to {NEIGHBOR}" in refusal(f"{web}/to-neighbor", allow_private=False)


def test_a_proxy_may_be_private_and_looks_up_the_names(
    web: str, server: http.server.ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", web)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    for page in ("picture", "moved"):
        assert fetch_image(f"http://pictures.invalid/{page}", allow_private=False) == PICTURE
    assert server.seen[-1][0] == "http://pictures.invalid/picture"  # type: ignore[attr-defined]


def test_a_certificate_must_be_for_the_name_though_the_address_is_connected_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setattr("clipsearch.photos.public.is_public", lambda _: True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    with serving() as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        port = server.server_port
        assert fetch_image(f"https://localhost:{port}/picture", allow_private=False) == PICTURE
        assert "CERTIFICATE_VERIFY_FAILED" in refusal(
            f"https://127.0.0.1:{port}/picture", allow_private=False
        )


def test_what_is_public_is_what_is_routed() -> None:
    assert all(map(is_public, PUBLIC))
    assert not is_public("fe80::1%eth0")
