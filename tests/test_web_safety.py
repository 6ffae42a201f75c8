"""What others may try at the server, and what it bears: strangers, floods, bad pictures, a library gone."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest
from mean_color import paint
from PIL import Image
from program import install
from serving import served

from clipsearch import Library, thumbnails
from clipsearch.catalog.catalog import FILE_NAME
from clipsearch.cli import main
from clipsearch.web import guard, running
from clipsearch.web.errors import BusyError
from clipsearch.web.pool import LibraryPool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Promised

SOURCE = Path(__file__).parent
TOKEN = "secret-of-the-test"


@pytest.fixture(scope="module", autouse=True)
def _tiny() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        install(patch.setattr)
        yield


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number, color in enumerate([(250, 0, 0), (0, 250, 0), (0, 0, 250)]):
        paint(tmp_path / f"photos/{number}.png", color, size=(400, 300))
    return tmp_path / "photos"


@pytest.fixture
def library(photos: Path) -> Iterator[Library]:
    with Library.open(photos.parent / "library") as opened:
        opened.index([photos])
        yield opened


@pytest.fixture
def client(library: Library) -> Iterator[httpx.Client]:
    with served(library) as opened:
        yield opened


def refused(answer: httpx.Response, status: int) -> str:
    """That it is an error in order; returns what it says."""
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error", "hint"}
    assert_headers(answer)
    said = answer.text
    assert "Traceback" not in said
    assert ".py" not in said
    return said


def assert_headers(answer: httpx.Response) -> None:
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert "server" not in answer.headers


# -- who may ask -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "localhost.evil.example", "127.0.0.2:{port}", "localhost@evil"],
)
def test_another_name_is_refused(client: httpx.Client, host: str) -> None:
    port = client.base_url.port
    for place in ("/", "/api/status", "/api/photos/1/original"):
        said = refused(client.get(place, headers={"Host": host.format(port=port)}), 403)
        assert "name" in said
    for own in (f"localhost:{port}", f"LOCALHOST:{port}", "localhost", f"[::1]:{port}"):
        assert client.get("/api/status", headers={"Host": own}).status_code == 200


CROSS = [
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
    {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost:1"},
    {"Referer": "https://evil.example/page"},
]


@pytest.mark.parametrize("headers", CROSS, ids=str)
def test_another_site_is_refused(client: httpx.Client, headers: dict[str, str]) -> None:
    for place in (
        "/api/photos/1/thumbnail",
        "/api/photos/1/original",
        "/api/search?q=red",
        "/api/openapi.json",
    ):
        refused(client.get(place, headers=headers), 403)
    refused(client.post("/api/archive", json={"ids": [1]}, headers=headers), 403)
    refused(client.post("/api/pictures", content=b"x", headers=headers), 403)


def test_the_page_itself_may_ask_and_be_linked_to(client: httpx.Client) -> None:
    own = {"Origin": str(client.base_url).rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    assert client.get("/api/status", headers=own).status_code == 200
    assert client.post("/api/archive", json={"ids": [1]}, headers=own).status_code == 200
    linked = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.get("/", headers=linked).status_code == 200
    refused(client.get("/", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}), 403)


def test_every_answer_has_the_headers(client: httpx.Client) -> None:
    for place in (
        "/",
        "/api/status",
        "/api/photos/1/thumbnail",
        "/api/photos/1/original",
        "/nothing",
        "/api/x",
    ):
        assert_headers(client.get(place))


def test_a_token_is_asked_for_and_changed_for_a_cookie(library: Library) -> None:
    with served(library, token=TOKEN) as client:
        for headers in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Cookie": "clipsearch-1=x"},
            {"Cookie": "\xff=;"},
        ):
            for place in ("/", "/api/status", "/api/photos/1/original", "/nothing"):
                encoded = {name: value.encode("latin-1") for name, value in headers.items()}
                refused(client.get(place, headers=encoded), 401)
        refused(client.get("/?token=wrong"), 401)
        refused(client.get(f"/api/status?token={TOKEN}"), 401)
        assert client.get("/api/status", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
        answer = client.get(f"/?q=red+car&token={TOKEN}")
        assert (answer.status_code, answer.headers["location"]) == (303, "/?q=red+car")
        assert_headers(answer)
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert client.get("/api/status").status_code == 200, "the cookie is enough"
        away = raw(client, f"GET //evil.example/?token={TOKEN} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert b"\r\nlocation: /evil.example/\r\n" in away
        elsewhere = client.get("/api/status", headers={"Host": "photos.example:443"})
        assert elsewhere.status_code == 200, "who knows the token may come by any name"


# -- nothing but photos ----------------------------------------------------------------------------


def raw(client: httpx.Client, request: bytes) -> bytes:
    """What the server answers to these very bytes."""
    with closing(
        socket.create_connection((client.base_url.host, client.base_url.port or 0), 10)
    ) as connection:
        connection.sendall(request)
        connection.settimeout(1)
        answer = b""
        with suppress(TimeoutError, ConnectionResetError):
            while part := connection.recv(65_536):
                answer += part
        return answer


@pytest.mark.parametrize(
    "path",
    [
        "/../../../../etc/passwd",
        "/..%2f..%2f..%2fetc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/....//....//etc/passwd",
        "//etc/passwd",
        "/..\\\\..\\\\etc\\\\passwd",
        "/api/photos/..%2f..%2fetc%2fpasswd/original",
        "/api/photos/%2fetc%2fpasswd/original",
        "/api/photos/1/original/../../../../../../etc/passwd",
        "/app.py",
        "/../guard.py",
        "/%00",
    ],
)
def test_no_path_leads_anywhere(client: httpx.Client, path: str) -> None:
    answer = raw(client, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert int(answer.split()[1]) in {400, 404, 405, 422}
    assert b"root:" not in answer
    assert b"import" not in answer


def test_a_query_never_names_a_file_or_an_address(client: httpx.Client, photos: Path) -> None:
    taken: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.3)
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/x.jpg"
        for word in (str(photos / "0.png"), "/etc/passwd", address, f"2:{photos / '0.png'}"):
            for parameters in ({"q": word}, {"q": "red", "add": word}, {"q": "red", "subtract": word}):
                answer = client.get("/api/search", params=parameters)
                assert answer.status_code == 200, "it is a text"
        with pytest.raises(TimeoutError):
            taken.append(listening.accept()[0].recv(1))
    assert not taken
    assert client.get("/api/search", params={"in": "~root"}).status_code == 400


def test_a_link_that_was_put_in_a_photos_place_leads_nowhere(
    client: httpx.Client, photos: Path, tmp_path: Path
) -> None:
    outside = paint(tmp_path / "outside/private.png", (9, 9, 9), size=(40, 30))
    inside = photos / "1.png"
    (photos / "0.png").unlink()
    (photos / "0.png").symlink_to(outside)
    (photos / "2.png").unlink()
    (photos / "2.png").symlink_to(inside)
    found = {Path(one["path"]).name: one["id"] for one in client.get("/api/search").json()}
    for what in ("original", "thumbnail"):
        refused(client.get(f"/api/photos/{found['0.png']}/{what}"), 404)
    answer = client.post("/api/archive", json={"ids": [found["0.png"], found["1.png"]]})
    assert b"private" not in answer.content
    assert outside.read_bytes() not in answer.content
    assert b"not in this archive.txt" in answer.content
    assert client.get(f"/api/photos/{found['2.png']}/original").content == inside.read_bytes()


def test_a_linked_folder_that_was_indexed_is_served(photos: Path, tmp_path: Path) -> None:
    elsewhere = paint(tmp_path / "elsewhere/far.png", (1, 2, 3))
    (photos / "linked").symlink_to(elsewhere.parent)
    with Library.open(tmp_path / "other") as library:
        library.index([photos])
        with served(library) as client:
            (far,) = client.get("/api/search?glob=far.png").json()
            assert client.get(f"/api/photos/{far['id']}/original").content == elsewhere.read_bytes()
            paint(elsewhere, (3, 2, 1))
            refused(client.get(f"/api/photos/{far['id']}/original"), 404)


def test_what_is_no_picture_is_never_shown(client: httpx.Client, photos: Path) -> None:
    for number, content in enumerate([b"<html><script>x</script>", b"<svg onload='x'/>", b"GIF89a"]):
        (photos / f"{number}.png").write_bytes(content)
        answer = client.get(f"/api/photos/{number + 1}/original")
        shown = answer.headers["content-type"], answer.headers["content-disposition"].split(";")[0]
        expected = (
            ("image/gif", "inline") if content == b"GIF89a" else ("application/octet-stream", "attachment")
        )
        assert shown == expected
        refused(client.get(f"/api/photos/{number + 1}/thumbnail"), 404)
    (photos / "0.png").unlink()
    os.mkfifo(photos / "0.png")
    refused(client.get("/api/photos/1/original"), 404)


# -- floods and bad pictures -----------------------------------------------------------------------


def bomb() -> bytes:
    """A PNG of a few kB that unfolds into 3.6 gigapixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1 << 20)))
        + chunk(b"IEND", b"")
    )


def test_a_bad_picture_is_one_clear_error(client: httpx.Client) -> None:
    for picture in (bomb(), b"", b"no picture", b"<svg/>", b"\x89PNG\r\n\x1a\n", bytes(1000)):
        refused(client.post("/api/pictures", content=picture), 400)
        refused(client.post("/api/pictures", files={"file": picture}), 400)
    refused(client.post("/api/pictures", data={"file": "text"}), 400)
    wrong = {"Content-Type": "multipart/form-data; boundary=x"}
    refused(client.post("/api/pictures", content=b"--y\r\n", headers=wrong), 400)
    assert client.get("/api/search?q=red").status_code == 200


def test_a_bomb_in_a_photos_place_has_no_thumbnail(client: httpx.Client, photos: Path) -> None:
    (photos / "0.png").write_bytes(bomb())
    said = refused(client.get("/api/photos/1/thumbnail"), 404)
    assert "megapixels" in said


def test_an_upload_is_bounded_whatever_it_says(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "PICTURE_BYTES", 2_000_000)
    refused(client.post("/api/pictures", content=bytes(3_000_000)), 413)

    def endless() -> Iterator[bytes]:
        for _ in range(300):
            yield bytes(10_000)

    refused(client.post("/api/pictures", content=endless()), 413)
    refused(client.post("/api/pictures", files={"file": bytes(3_000_000)}), 413)
    refused(client.post("/api/archive", content=bytes(1_100_000)), 413)
    assert client.post("/api/pictures", content=bytes(1_900_000)).status_code == 400


def test_slow_clients_are_let_go_of_and_hold_up_nobody(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "_HEAD_S", 1.0)
    monkeypatch.setattr(running, "_STALL_S", 1.0)
    with served(library) as client:
        place = (client.base_url.host, client.base_url.port or 0)
        beginnings = [
            b"",
            b"GET /api/status HT",
            b"POST /api/pictures HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\nabc",
        ]
        slow = [socket.create_connection(place, 10) for _ in range(10) for _ in beginnings]
        for number, connection in enumerate(slow):
            connection.sendall(beginnings[number % len(beginnings)])
        trickling = socket.create_connection(place, 10)
        ended = threading.Event()

        def trickle() -> None:
            for byte in b"GET /api/status HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * 200:
                try:
                    trickling.sendall(bytes([byte]))
                except OSError:
                    ended.set()
                    return
                time.sleep(0.1)

        thread = threading.Thread(target=trickle)
        thread.start()
        assert client.get("/api/search?q=red").status_code == 200
        for connection in slow:
            with connection, suppress(ConnectionResetError):
                assert connection.recv(100) == b"", "closed without an answer"
        thread.join()
        assert ended.is_set()
        trickling.close()


def test_a_client_that_takes_nothing_is_let_go_of(
    photos: Path, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "_STALL_S", 0.5)
    (photos / "0.png").write_bytes(os.urandom(30_000_000))
    with served(library) as client:
        lazy = socket.create_connection((client.base_url.host, client.base_url.port or 0), 30)
        with lazy:
            lazy.sendall(b"GET /api/photos/1/original HTTP/1.1\r\nHost: localhost\r\n\r\n")
            time.sleep(2)
            taken = 0
            with suppress(ConnectionResetError):
                while part := lazy.recv(1 << 20):
                    taken += len(part)
        assert taken < 30_000_000
        assert client.get("/api/photos/2/original").status_code == 200


def test_what_is_malformed_is_refused(client: httpx.Client) -> None:
    for request in (
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /api/pictures HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /api/pictures HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n",
    ):
        answer = raw(client, request)
        assert answer[9:10] == b"4" or not answer or answer.startswith(b"HTTP/1.1 200"), request[:40]
        assert b"Traceback" not in answer
    head, _, body = raw(client, b"GET / HTTP/9\r\n\r\n").partition(b"\r\n\r\n")
    assert b"application/json" in head
    assert json.loads(body).keys() == {"error", "hint"}
    assert client.get("/api/status").status_code == 200


def test_calls_that_find_no_room_are_told_so_and_others_are_kept(library: Library) -> None:
    import asyncio

    pool = LibraryPool(library)
    release = threading.Event()

    async def crowd() -> list[Any]:
        calls = [asyncio.ensure_future(pool.run(lambda _, n=n: release.wait(20) and n)) for n in range(700)]
        await asyncio.sleep(0.2)
        assert await pool.run(lambda _: "others", lane="long") == "others"
        release.set()
        return await asyncio.gather(*calls, return_exceptions=True)

    got = asyncio.run(crowd())
    pool.close()
    refusals = [one for one in got if isinstance(one, BusyError)]
    assert 0 < len(refusals) < 700 - 500
    assert all(one == number for number, one in enumerate(got) if not isinstance(one, BusyError))


def test_a_client_that_goes_away_takes_its_calls_along(library: Library) -> None:
    import asyncio

    pool, done = LibraryPool(library), []
    release = threading.Event()

    async def leave() -> None:
        busy = [asyncio.ensure_future(pool.run(lambda _: release.wait(20))) for _ in range(32)]
        await asyncio.sleep(0.1)
        leaving = [asyncio.ensure_future(pool.run(lambda _: done.append(1))) for _ in range(50)]
        await asyncio.sleep(0.1)
        for call in leaving:
            call.cancel()
        await asyncio.sleep(0.1)
        release.set()
        await asyncio.gather(*busy)
        await pool.run(lambda _: None)

    asyncio.run(leave())
    pool.close()
    assert done == []


# -- a library that changes ------------------------------------------------------------------------


def test_the_library_may_come_change_and_go_while_it_is_served(photos: Path, tmp_path: Path) -> None:
    place = tmp_path / "later"
    with Library.open(place) as library, served(library) as client:
        said = refused(client.get("/api/search"), 409)
        assert str(tmp_path) not in said
        assert "clipsearch index" in said
        assert client.get("/").status_code == 200
        with Library.open(place) as writer:
            writer.index([photos])
            assert len(client.get("/api/search?q=red").json()) == 3
            assert client.get("/api/photos/1/thumbnail").status_code == 200
            paint(photos / "new.png", (200, 0, 0))
            writer.index()
            assert len(client.get("/api/search?q=red").json()) == 4
            writer.back_up(tmp_path / "backup")
            (photos / "new.png").unlink()
            writer.index()
            for _ in range(8):  # whichever thread answers
                assert len(client.get("/api/search").json()) == 3
            writer.restore(tmp_path / "backup")
            for _ in range(8):
                assert len(client.get("/api/search").json()) == 4
        shutil.rmtree(place)
        for _ in range(8):
            refused(client.get("/api/search?q=red"), 409)
        assert not place.exists(), "nothing makes it again"
        with Library.open(place) as writer:
            writer.index([photos])
        for _ in range(8):
            assert len(client.get("/api/search?q=red").json()) == 3


def test_a_damaged_library_is_said_without_its_place(
    client: httpx.Client, library: Library, tmp_path: Path
) -> None:
    file = library.path / FILE_NAME
    fresh = file.with_name("fresh")
    fresh.write_bytes(b"no database at all" * 1000)
    for log in library.path.glob(f"{FILE_NAME}-*"):
        log.unlink()
    fresh.replace(file)
    said = refused(client.get("/api/search"), 503)
    assert str(tmp_path) not in said
    assert "doctor" in said


def test_notices_come_with_the_answer(client: httpx.Client, photos: Path) -> None:
    photos.rename(photos.with_name("away"))
    answer = client.get("/api/search?q=red")
    assert answer.json() == []
    (notice,) = answer.headers.get_list("x-notice")
    assert "cannot be reached now" in notice
    assert client.get("/api/status").json()["roots"][0]["online"] is False


# -- thumbnails on disk ----------------------------------------------------------------------------


def stored(library: Library) -> list[Path]:
    return sorted(one.path for one in thumbnails.everything(library.path))


def test_a_damaged_thumbnail_is_never_shown_and_is_found_and_removed(
    client: httpx.Client, library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = {number: client.get(f"/api/photos/{number}/thumbnail").content for number in (1, 2, 3)}
    torn, empty, fine = stored(library)
    torn.write_bytes(torn.read_bytes()[:-20])
    empty.write_bytes(b"")
    draft = fine.with_name(f".{fine.name}.0123abcd")
    draft.write_bytes(b"half")
    os.utime(draft, (1, 1))
    (fine.parent / "stranger.txt").write_text("not ours")
    assert main(["doctor", "--library", str(library.path)]) == 1
    said = capsys.readouterr().out
    assert "thumbnails" in said
    assert {number: client.get(f"/api/photos/{number}/thumbnail").content for number in whole} == whole
    torn.write_bytes(b"x")
    assert main(["doctor", "--repair", "--library", str(library.path)]) == 0
    assert "stranger" not in capsys.readouterr().out
    assert stored(library) == [empty, fine]
    assert (fine.parent / "stranger.txt").exists()
    assert main(["doctor", "--library", str(library.path)]) == 0


def test_a_photo_that_has_changed_is_shown_but_not_kept(
    client: httpx.Client, library: Library, photos: Path
) -> None:
    paint(photos / "0.png", (10, 10, 10))
    (changed,) = client.get("/api/search?glob=0.png").json()
    answer = client.get(f"/api/photos/{changed['id']}/thumbnail", params={"v": changed["content"]})
    assert Image.open(io.BytesIO(answer.content)).size == (16, 12)
    assert answer.headers["cache-control"] == "no-store"
    assert stored(library) == []


def test_thumbnails_stay_within_their_bound_the_oldest_go(tmp_path: Path) -> None:
    (tmp_path / "library").mkdir()
    kept = thumbnails.Thumbnails(tmp_path / "library", limit=10_000)
    for number in range(30):
        digest = bytes([number]) * 32
        kept.keep(digest, 256, bytes([number]) * 996)
        file = tmp_path / "library" / thumbnails.FOLDER / digest.hex()[:2] / f"{digest.hex()}-256.webp"
        os.utime(file, (number, number))
    left = [number for number in range(30) if kept.get(bytes([number]) * 32, 256)]
    assert left == list(range(30 - len(left), 30)), "the newest are there"
    assert 8 <= len(left) <= 10


def test_where_nothing_can_be_written_thumbnails_are_served_all_the_same(
    client: httpx.Client, library: Library
) -> None:
    (library.path / thumbnails.FOLDER).write_text("a file in its place")
    assert client.get("/api/photos/1/thumbnail").status_code == 200
    assert client.get("/api/photos/1/thumbnail").status_code == 200


# -- the command -----------------------------------------------------------------------------------


class Command:
    """`clipsearch serve` as a process of its own."""

    def __init__(self, library: Path, *arguments: str) -> None:
        program = [
            sys.executable,
            str(SOURCE / "program.py"),
            "serve",
            "--no-open",
            "--library",
            str(library),
        ]
        environment = os.environ | {"PYTHONPATH": str(SOURCE.parent)}
        self.process = subprocess.Popen(
            [*program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()
        match = re.search(r"http://\S+", self.line)
        assert match is not None, self.process.communicate()[1]
        self.url = match[0]

    def end(self, number: int) -> tuple[int, str]:
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=20)
        return self.process.returncode, said


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_the_command_serves_until_a_signal(library: Library, number: int, code: int) -> None:
    command = Command(library.path, "--port", "0")
    assert command.url.startswith("http://127.0.0.1:")
    with httpx.Client(base_url=command.url) as client:
        assert client.get("/api/status").json()["photos"] == 3
        begun = time.monotonic()
        got = command.end(number)  # though a client is connected
    assert got == (code, "")
    assert time.monotonic() - begun < 15


def test_another_address_needs_a_token(library: Library) -> None:
    command = Command(library.path, "--port", "0", "--host", "0.0.0.0")
    try:
        token = re.search(r"\?token=(\S+)", command.line)
        assert token is not None
        assert len(token[1]) >= 32
        port = urlsplit(command.url).port
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            assert client.get("/api/status").status_code == 401
            headers = {"Authorization": f"Bearer {token[1]}"}
            assert client.get("/api/status", headers=headers).status_code == 200
    finally:
        command.end(signal.SIGTERM)


def test_a_port_that_is_taken_is_said(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["serve", "--port", port, "--no-open", "--library", str(library.path)]) == 2
    assert f"port {port} is taken" in capsys.readouterr().err
    assert main(["serve", "--host", "192.0.2.1", "--no-open", "--library", str(library.path)]) == 2
    assert "cannot listen on 192.0.2.1" in capsys.readouterr().err


def test_without_its_packages_the_command_says_what_to_install(
    library: Library, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(sys.modules):
        if name.startswith("clipsearch.web"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert main(["serve", "--library", str(library.path)]) == 2
    assert 'pip install "clipsearch[web]"' in capsys.readouterr().err


def test_killed_while_thumbnails_are_written_none_is_ever_half(
    library: Library, photos: Path, promised: Promised
) -> None:
    for number in range(30):
        Image.effect_noise((300, 200), 90).convert("RGB").save(photos / f"noise-{number}.png")
    library.index()
    ids = [match.photo.id for match in library.newest(limit=1000)]
    kills, seen = 2, 0
    for turn in range(kills):
        command = Command(library.path, "--port", "0")

        made = threading.Semaphore(0)

        def ask(base: str = command.url, made: threading.Semaphore = made) -> None:
            with httpx.Client(base_url=base, timeout=60) as client, suppress(httpx.HTTPError):
                for key in ids:
                    client.get(f"/api/photos/{key}/thumbnail?size=512")
                    made.release()

        clients = [threading.Thread(target=ask) for _ in range(3)]
        for thread in clients:
            thread.start()
        for _ in range(3 + 5 * turn):
            assert made.acquire(timeout=60)
        time.sleep(turn * 0.003)
        command.process.kill()
        command.process.communicate()
        for thread in clients:
            thread.join()
        seen = max(seen, len(stored(library)))
    kept = thumbnails.Thumbnails(library.path)
    for key in ids:
        details = library.details(key)
        whole = kept.get(details.digest, 512)
        if whole is not None:
            Image.open(io.BytesIO(whole)).load()
    assert seen > 0
    assert not [path for path in thumbnails.damaged(library.path) if not path.name.startswith(".")]
    promised("A server killed while it writes thumbnails leaves no half one to be shown", kills, "kills")
