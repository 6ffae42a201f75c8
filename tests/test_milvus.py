"""A Milvus collection answers as the folder's library that its photos came from."""

from __future__ import annotations

import json
import os
import socket
import sys
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import program
import pytest
from hypothesis import HealthCheck, given, settings
from mean_color import MODEL, paint, unit
from milvus_server import MilvusServer
from test_filters import FILTERS

from clipsearch import Library
from clipsearch.address import Address, parse_address
from clipsearch.catalog.catalog import Arrival, Catalog
from clipsearch.cli import main
from clipsearch.errors import (
    LibraryError,
    ModelMismatchError,
    NoLibraryError,
    UsageError,
)
from clipsearch.filters import parse
from clipsearch.milvus.settings import server_of
from clipsearch.rows import Row
from clipsearch.sending import Sent, to_milvus
from clipsearch.stores.milvus import MilvusStore
from clipsearch.types import Filters, Metadata, Place, Term

if TYPE_CHECKING:
    from collections.abc import Iterator

    Capture = pytest.CaptureFixture[bytes]

SERVER = pytest.param("server", marks=pytest.mark.cluster)
NAMES = [
    "a.jpg",
    "B.JPG",
    "2023/a.heic",
    "2023/b/ä.png",
    "x[1].jpg",
    "u\u0308ber.jpg",
    "2023/two\nlines.jpg",
    "qu\"ote's \\ %_.jpg",
    "🐕 zwölf.jpg",
    "20/neighbour.jpg",
    os.fsdecode(b"2023/latin-\xe9.jpg"),
    "odd \N{REPLACEMENT CHARACTER}E9.jpg",
]
CAMERAS = [None, "Canon EOS 5D", "NIKON D90", "Änderung", "50% _off_"]


def metadata(number: int, random: np.random.Generator) -> Metadata:
    taken = None
    if number % 4:
        taken = datetime(1990, 1, 1) + timedelta(seconds=int(random.integers(0, 10**9)))  # noqa: DTZ001
        if number % 3 == 0:
            taken = taken.replace(tzinfo=timezone(timedelta(hours=-7)), microsecond=999_999)
    where = None
    if number % 3:
        where = Place(float(random.uniform(-90, 90)), float(random.uniform(-180, 180)))
    return Metadata(taken, CAMERAS[number % 5], CAMERAS[(number + 1) % 5], where)


@pytest.fixture(scope="module")
def tiny_encoder() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        program.install(patch.setattr)
        yield


@pytest.fixture(scope="module", autouse=True)
def _patience() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPSEARCH_MILVUS_TIMEOUT", "120")  # a busy machine is no failure
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library in a folder: 200 photos of 160 contents, in clusters of colours."""
    photos = tmp_path_factory.mktemp("photos")
    (photos / "there").touch()
    random = np.random.default_rng(5)
    centres = unit(random.random((8, 3)))
    arrivals: list[Arrival] = []
    with Catalog(tmp_path_factory.mktemp("library"), write=True) as catalog:
        root = catalog.add_root(photos, [])
        key = catalog.choose_model(MODEL)
        for number in range(200):
            content = number if number < 160 else number - 160
            stem, _, suffix = NAMES[number % len(NAMES)].rpartition(".")
            name = f"{stem}{number // len(NAMES) or ''}.{suffix}"
            vector = unit(centres[content % 8] + random.normal(0, 0.05, 3))
            width, height = random.integers(1, 4000, 2).tolist()
            facts = (width, height if number % 7 else width, metadata(number, random))
            is_new = content == number
            arrivals.append(
                Arrival(
                    root,
                    os.fsencode(name),
                    number,
                    1,
                    content.to_bytes(32, "little"),
                    facts if is_new else None,
                    vector if is_new else None,
                )
            )
        catalog.record(arrivals, [], key)
        return catalog.path.parent


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusServer]:
    running = MilvusServer(tmp_path_factory.mktemp("milvus") / "data")
    running.start()
    yield running
    running.kill()


@pytest.fixture(scope="module", params=["lite", SERVER])
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where a collection may be made."""
    if request.param == "lite":
        return f"milvus-lite:{tmp_path_factory.mktemp('lite') / 'photos.db'}"
    running: MilvusServer = request.getfixturevalue("server")
    return running.address


@pytest.fixture(scope="module")
def both(request: pytest.FixtureRequest, folder: Path, address: str) -> Iterator[tuple[Library, Library]]:
    """The library in the folder, and the collection that it was sent to."""
    request.getfixturevalue("tiny_encoder")
    with Library.open(folder) as local, Library.open(address) as remote:
        assert local.send(address) == Sent(200, 0)
        yield local, remote


def assert_same_answers(local: Library, remote: Library, filters: Filters) -> None:
    wanted = [photo.path for photo in (match.photo for match in local.newest(filters, limit=1_000))]
    assert [match.path for match in remote.newest(filters, limit=1_000)] == wanted
    assert [m.path for m in remote.newest(filters, limit=5, offset=3)] == wanted[3:8]
    assert remote.months(filters) == local.months(filters)
    for limit in (1, 10, 300):
        here = local.search("red", limit=limit, filters=filters)
        there = remote.search("red", limit=limit, filters=filters)
        np.testing.assert_allclose([m.score for m in there], [m.score for m in here], atol=1e-6)
        # Sums of products in another order: where scores are equal to the sixth digit, either may come first.
        assert ranked(there) == ranked(here)
        assert {m.path: m.strength for m in there} == {m.path: m.strength for m in here}


def ranked(matches: list) -> list[tuple[float, Path]]:
    return sorted((round(match.score, 5), match.path) for match in matches)


@given(FILTERS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_filter_lets_the_same_photos_pass(both: tuple[Library, Library], filters: Filters) -> None:
    assert_same_answers(*both, filters)


@pytest.mark.parametrize("inside", ["", "2023", "20", "2023/b", "none"])
def test_folders_are_the_same(both: tuple[Library, Library], inside: str) -> None:
    local, remote = both
    (root,) = [root.path for root in local.status().roots]
    assert_same_answers(local, remote, Filters(inside=root / inside))
    assert remote.folders(root / inside) == local.folders(root / inside)
    assert [(count.path, count.photos) for count in remote.folders()] == [(root, 200)]


def test_a_photo_is_found_by_its_likeness_its_path_and_its_id(both: tuple[Library, Library]) -> None:
    local, remote = both
    for match in local.newest(limit=8):
        here = local.similar(match.path, limit=10)
        there = remote.similar(match.path, limit=10)
        assert ranked(there) == ranked(here)
        assert match.path not in {one.path for one in there}
        (itself, *_) = remote.newest(Filters(glob=match.path.name.replace("[", "[[]")), limit=1)
        assert remote.photo(itself.photo.id).path == itself.path
        by_id = remote.similar(Term(str(itself.photo.id), kind="photo"), limit=1, include_self=True)
        assert by_id[0].score == pytest.approx(1, abs=1e-3)
    with pytest.raises(UsageError, match="no photo has the id"):
        remote.photo(1)


def test_every_photo_comes_back_with_its_vector_and_all_that_is_known_of_it(
    both: tuple[Library, Library],
) -> None:
    def everything(library: Library) -> dict[Row, bytes]:
        rows = {}
        for photos, vectors in library.rows():
            for row, vector in zip(photos, vectors, strict=True):
                rows[row.path, row.hash, row.width, row.height, row.size, row.metadata] = vector.tobytes()
        return rows

    local, remote = both
    here = everything(local)
    assert len(here) == 200
    assert everything(remote) == here


def test_classify_says_the_same(both: tuple[Library, Library]) -> None:
    here, there = (
        {
            one.file: (one.best, np.round(one.probabilities, 5).tolist())
            for one in library.classify(["red", "blue"])
        }
        for library in both
    )
    assert len(here) == 200
    assert there == here


def test_status_tells_what_is_there(both: tuple[Library, Library], address: str) -> None:
    status = both[1].status()
    assert (status.path, status.photos, status.model) == (address, 200, MODEL)


def test_only_what_is_new_is_sent(both: tuple[Library, Library], address: str) -> None:
    assert both[0].send(address) == Sent(0, 200)


@pytest.mark.usefixtures("both")
def test_another_model_is_refused(address: str) -> None:
    other = replace(MODEL, fingerprint="other")
    with pytest.raises(ModelMismatchError, match="was made with mean-color"):
        to_milvus(address_of(address), other, [])


def address_of(text: str) -> Address:
    parsed = parse_address(text)
    assert parsed is not None
    return parsed


@pytest.fixture(params=["lite", SERVER])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An address with nothing there; emptied after."""
    if request.param == "lite":
        yield f"milvus-lite:{tmp_path / 'one.db'}"
        return
    running: MilvusServer = request.getfixturevalue("server")
    address = running.address.replace("/photos", "/one")
    yield address
    store = MilvusStore(server_of(address_of(address)), "one")
    store.drop()
    store.close()


def test_what_was_written_before_an_interruption_is_not_written_again(place: str) -> None:
    rows = [Row(f"/p/{n}.jpg", bytes([n] * 32), 4, 3, n) for n in range(6)]
    vectors = unit(np.random.default_rng(1).random((6, 3))).astype(np.float16)

    def interrupted() -> Iterator:
        yield rows[:4], vectors[:4]
        raise KeyboardInterrupt

    address = address_of(place)
    with pytest.raises(KeyboardInterrupt):
        to_milvus(address, MODEL, interrupted())
    assert to_milvus(address, MODEL, [(rows, vectors)]) == Sent(2, 4)
    changed = [
        replace(rows[0], hash=bytes([9] * 32)),
        replace(rows[1], extra={"caption": "a dog"}),
        *rows[2:],
    ]
    assert to_milvus(address, MODEL, [(changed, vectors)]) == Sent(2, 4)
    with Library.open(place) as library:
        assert library.status().photos == 6


@pytest.mark.usefixtures("tiny_encoder")
def test_a_forgotten_folder_is_gone_from_the_next_search(place: str, folder: Path) -> None:
    with Library.open(folder) as local, Library.open(place) as remote:
        local.send(place)
        (root,) = [root.path for root in local.status().roots]
        inside = len(local.newest(Filters(inside=root / "2023"), limit=1_000))
        assert remote.forget(root / "2023") == inside
        with Library.open(place) as another:
            left = {match.path for match in another.search("red", limit=1_000)}
        assert left == {m.path for m in local.newest(limit=1_000) if root / "2023" not in m.path.parents}
        with pytest.raises(UsageError, match="no photo of"):
            remote.forget(root / "2023")


# -- the command line ------------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: Capture) -> Path:
    program.install(monkeypatch.setattr)
    monkeypatch.setenv("CLIPSEARCH_LIBRARY", str(tmp_path / "library"))
    pictures = tmp_path / "my photos"
    for number, name in enumerate(
        ["red.png", "zwölf 🐕.png", os.fsdecode(b"latin-\xe9.png"), "deep/two\nlines.png"]
    ):
        paint(pictures / name, (255 - number * 60, number * 60, 9))
    assert main(["index", str(pictures)]) == 0
    capsysbinary.readouterr()
    return pictures


def run(capture: Capture, *words: str) -> tuple[int, bytes, bytes]:
    code = main(list(words))
    return code, *capture.readouterr()


def test_commands_answer_as_in_a_folder(photos: Path, tmp_path: Path, capsysbinary: Capture) -> None:
    there = f"milvus-lite:{tmp_path / 'c.db'}"
    code, out, err = run(capsysbinary, "export", "--to", there)
    assert (code, out) == (0, f"4 photos sent to {there}.\n".encode()), err
    for words in (
        ["search", "red", "--format", "jsonl"],
        ["search", "red", "-n", "2", "-0"],
        ["search", "--in", str(photos / "deep"), "--format", "json"],
        ["similar", str(photos / "red.png")],
        ["similar", str(photos / "red.png"), "--include-self", "--only-matches"],
        ["search", "--glob", "*.jpg"],
    ):
        here = run(capsysbinary, *words)
        assert run(capsysbinary, *words, "--library", there) == here
    for words in (["classify", "--labels", "red,blue", "--format", "jsonl"], ["export", "--format", "jsonl"]):
        here, other = (run(capsysbinary, *words, *where) for where in ([], ["-L", str(tmp_path / "c.db")]))
        assert other[0] == here[0] == 0
        assert sorted(other[1].splitlines()) == sorted(here[1].splitlines())
    code, out, _ = run(capsysbinary, "status", "--json", "-L", there)
    assert (code, json.loads(out)["photos"]) == (0, 4)
    code, out, _ = run(capsysbinary, "export", "--to", there)
    assert out == f"0 photos sent to {there}, 4 were there already.\n".encode()
    code, out, _ = run(capsysbinary, "forget", str(photos / "deep"), "-L", there)
    assert (code, out.startswith(b"1 photo of")) == (0, True)
    code, out, _ = run(capsysbinary, "search", "red", "-0", "-L", there)
    assert (code, len(out.split(b"\0"))) == (0, 4)


@pytest.mark.usefixtures("photos")
def test_what_a_collection_cannot_do_is_said_in_one_line(tmp_path: Path, capsysbinary: Capture) -> None:
    there = f"milvus-lite:{tmp_path / 'c.db'}"
    assert main(["export", "--to", there]) == 0
    capsysbinary.readouterr()
    for words in (
        ["index", "."],
        ["watch"],
        ["tag"],
        ["tag", "--list"],
        ["duplicates"],
        ["doctor"],
        ["optimize"],
        ["relocate", "a", "b"],
        ["concept", "list"],
        ["concept", "learn", "x", "--like", "."],
        ["search", "@x"],
        ["search", "--tag", "beach"],
    ):
        code, out, err = run(capsysbinary, *words, "-L", there)
        assert (code, out) == (2, b""), words
        assert err.splitlines()[-2].startswith(b"error: "), err
        assert b"Milvus collection" in err


def test_nothing_is_made_where_nothing_is(tmp_path: Path, capsysbinary: Capture) -> None:
    there = tmp_path / "none.db"
    code, _, err = run(capsysbinary, "search", "red", "-L", str(there))
    assert (code, err.splitlines()[0]) == (2, f"error: there is no library at milvus-lite:{there}".encode())
    assert not there.exists()
    with pytest.raises(NoLibraryError):
        Library.open(there).status()


@pytest.mark.usefixtures("photos")
def test_export_goes_to_one_place(tmp_path: Path, capsysbinary: Capture) -> None:
    there = f"milvus-lite:{tmp_path / 'c.db'}"
    assert run(capsysbinary, "export", "--to", there, "--format", "csv")[0] == 2
    assert run(capsysbinary, "export", "--to", there, "--glob", "*.none")[0] == 1
    assert run(capsysbinary, "export", "--to", f"milvus-lite:{tmp_path}/no/c.db")[2].startswith(
        b"error: no such"
    )


def test_parquet_files_bring_photos_and_vectors_to_another_library(
    photos: Path, tmp_path: Path, capsysbinary: Capture
) -> None:
    folder = str(tmp_path / "embedded")
    assert run(capsysbinary, "export", "--to", folder, "--glob", "deep/*")[1].startswith(b"1 photo sent")
    code, out, _ = run(capsysbinary, "export", "--to", folder)
    assert (code, out) == (0, f"3 photos sent to {folder}, 1 were there already.\n".encode())
    before = run(capsysbinary, "search", "red", "--format", "jsonl")
    there = ["-L", str(tmp_path / "other")]
    assert run(capsysbinary, "import", folder, *there)[0] == 0
    assert run(capsysbinary, "search", "red", "--format", "jsonl", *there) == before
    assert run(capsysbinary, "similar", str(photos / "red.png"), *there)[0] == 0


@pytest.mark.usefixtures("tiny_encoder")
def test_photos_in_object_storage_are_called_by_their_urls(place: str) -> None:
    urls = ["s3://bucket/2023/a.jpg", "s3://bucket/2023//b.jpg", "https://example.org/2024/c.jpg?x=1"]
    rows = [Row(url, bytes([n] * 32), 4, 3, n) for n, url in enumerate(urls)]
    to_milvus(address_of(place), MODEL, [(rows, unit(np.eye(3)).astype(np.float16))])
    with Library.open(place) as library:
        found = library.search("red")
        assert sorted(str(match.path) for match in found) == sorted(urls)
        inside = parse(inside=Path("s3://bucket/2023"))
        assert sorted(str(m.path) for m in library.newest(inside)) == sorted(urls[:2])
        assert [str(folder.path) for folder in library.folders("s3://bucket")] == ["s3://bucket/2023"]
        assert [str(m.path) for m in library.similar(urls[0], include_self=True, limit=1)] == [urls[0]]
        assert library.forget("s3://bucket/2023") == 2


# -- addresses, credentials, silence ------------------------------------------------------------


def test_addresses() -> None:
    assert parse_address("milvus://db:1/photos") == Address("db:1", "photos", "plain")
    assert parse_address("milvuss://db/a_1") == Address("db:19530", "a_1", "tls")
    assert parse_address("milvus://[::1]:5/p/") == Address("[::1]:5", "p", "plain")
    assert (
        parse_address("/p/x.db")
        == parse_address("milvus-lite:/p/x.db")
        == Address("/p/x.db", "clipsearch", "file")
    )
    assert parse_address(os.fspath(Path("milvus://db:1/photos"))) == Address("db:1", "photos", "plain")
    for folder in ("/photos", "milvus", "C:\\photos", "s3://bucket/x"):
        assert parse_address(folder) is None
    for text in (
        "milvus://",
        "milvus://db",
        "milvus://db/",
        "milvus://db:x/p",
        "milvus://db/1p",
        "milvus://db/a/b",
    ):
        with pytest.raises(UsageError, match="not an address"):
            parse_address(text)
    with pytest.raises(UsageError) as refused:
        parse_address("milvus://me:s3cret@db/p")
    assert "s3cret" not in refused.value.message + refused.value.hint


def test_credentials_come_from_the_environment_or_a_file_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = address_of("milvuss://db:1/p")
    file = tmp_path / "milvus.toml"
    monkeypatch.setenv("CLIPSEARCH_MILVUS_CONFIG", str(file))
    monkeypatch.delenv("CLIPSEARCH_MILVUS_TIMEOUT")
    assert server_of(address).token == ""
    file.write_text('["db:1"]\nuser = "me"\npassword = "s3cret"\ntimeout = 3\n')
    file.chmod(0o644)
    with pytest.raises(UsageError, match="others can read"):
        server_of(address)
    file.chmod(0o600)
    server = server_of(address)
    assert (server.token, server.timeout, server.uri) == ("me:s3cret", 3, "https://db:1")
    assert "s3cret" not in repr(server)
    assert server_of(address_of("milvus://other:1/p")).token == ""
    monkeypatch.setenv("CLIPSEARCH_MILVUS_TOKEN", "key")
    assert server_of(address).token == "key"
    file.write_text("s3cret")
    with pytest.raises(UsageError) as refused:
        server_of(address)
    assert "s3cret" not in str(refused.value)
    file.write_text('["db:1"]\npasword = "s3cret"\n')
    with pytest.raises(UsageError, match="no table of settings") as refused:
        server_of(address)
    assert "s3cret" not in str(refused.value)
    file.unlink()
    monkeypatch.setenv("CLIPSEARCH_MILVUS_TIMEOUT", "soon")
    with pytest.raises(UsageError, match="not a time limit"):
        server_of(address)


@pytest.mark.parametrize("listens", [True, False], ids=["silent", "down"])
def test_a_server_that_does_not_answer_is_one_clear_line(
    listens: bool, monkeypatch: pytest.MonkeyPatch, capsysbinary: Capture
) -> None:
    monkeypatch.setenv("CLIPSEARCH_MILVUS_TIMEOUT", "0.5")
    monkeypatch.setenv("CLIPSEARCH_MILVUS_TOKEN", "me:s3cret")
    monkeypatch.setenv("CLIPSEARCH_DEBUG", "1")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if listens:
            silent.listen()
        name = f"127.0.0.1:{silent.getsockname()[1]}"
        code, out, err = run(capsysbinary, "search", "red", "-L", f"milvus://{name}/photos")
    assert (code, out) == (2, b"")
    assert f"error: the Milvus server {name} does not answer within 0.5 s".encode() in err
    assert b"s3cret" not in err


def test_a_collection_of_another_program_is_left_alone(place: str) -> None:
    from pymilvus import MilvusClient

    address = address_of(place)
    server = server_of(address)
    client = MilvusClient(uri=server.uri)
    client.create_collection(address.collection, dimension=3)
    client.close()
    with pytest.raises(LibraryError, match="is not of clipsearch"):
        to_milvus(address, MODEL, [])
    with pytest.raises(LibraryError, match="is not of clipsearch"):
        Library.open(place).status()


def test_without_the_client_its_install_command_is_said(
    monkeypatch: pytest.MonkeyPatch, capsysbinary: Capture
) -> None:
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    code, _, err = run(capsysbinary, "search", "red", "-L", "milvus://127.0.0.1:1/p")
    assert (code, err.splitlines()[1]) == (2, b"hint: pip install pymilvus")
