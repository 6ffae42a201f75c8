"""A real Milvus server: killed, hanging, and with an index that is not exact."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from mean_color import unit
from milvus_server import MilvusServer, clipsearch

from clipsearch import Library
from clipsearch.address import parse_address
from clipsearch.builtin.captions import concepts
from clipsearch.errors import LibraryUnreachableError
from clipsearch.milvus.settings import server_of
from clipsearch.stores import milvus
from clipsearch.stores.milvus import Column, MilvusStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusServer]:
    running = MilvusServer(tmp_path_factory.mktemp("milvus") / "data")
    running.start()
    yield running
    running.kill()


@pytest.fixture(scope="module")
def library(
    shared_photos: Path, builtin_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """1,000 photographs under the real built-in model."""
    folder = tmp_path_factory.mktemp("library")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPSEARCH_CACHE", str(builtin_cache))
        with Library.open(folder) as opened:
            opened.index([shared_photos], model="builtin")
        yield folder


@pytest.fixture(autouse=True)
def _model(builtin_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(builtin_cache))


def test_a_hundred_queries_find_the_same_ten_photos(library: Path, server: MilvusServer) -> None:
    words = sorted(concepts())[::4][:100]
    same = 0
    with Library.open(library) as local, Library.open(server.address) as remote:
        assert sum(local.send(server.address)) == local.status().photos
        for word in words:
            here, there = (one.search(word, limit=10) for one in (local, remote))
            np.testing.assert_allclose([m.score for m in there], [m.score for m in here], atol=1e-6)
            same += [m.path for m in here] == [m.path for m in there]
    assert len(words) == 100
    assert same >= 99


def test_a_killed_server_is_one_clear_line_and_everything_is_there_after_its_restart(
    library: Path, server: MilvusServer
) -> None:
    assert clipsearch("export", "--to", server.address, "-L", str(library)).returncode == 0
    before = clipsearch("search", "flower", "-n", "20", "-L", server.address)
    assert before.returncode == 0
    server.kill()
    patience = {"CLIPSEARCH_MILVUS_TIMEOUT": "2"}
    for words in (["search", "flower"], ["status"], ["forget", "/"]):
        down = clipsearch(*words, "-L", server.address, env=patience)
        assert (down.returncode, down.stdout) == (2, "")
        assert down.stderr.splitlines()[0].endswith("does not answer within 2 s")
    down = clipsearch("export", "--to", server.address, "-L", str(library), env=patience)
    assert down.returncode == 2
    server.start()
    after = clipsearch("search", "flower", "-n", "20", "-L", server.address)
    assert after.stdout == before.stdout
    again = clipsearch("export", "--to", server.address, "-L", str(library))
    assert again.stdout.startswith("0 photos sent"), again


def test_a_server_that_dies_under_an_open_library_is_one_clear_line(
    library: Path, server: MilvusServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPSEARCH_MILVUS_TIMEOUT", "2")
    with Library.open(library) as local:
        local.send(server.address)
    with Library.open(server.address) as remote:
        wanted = [match.path for match in remote.search("flower")]
        server.pause(on=True)
        try:
            with pytest.raises(LibraryUnreachableError, match="does not answer within 2 s"):
                remote.search("flower")
        finally:
            server.pause(on=False)
        assert [match.path for match in remote.search("flower")] == wanted


def test_hnsw_finds_nearly_all_of_the_best(server: MilvusServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(milvus, "FLAT_ROWS", 2_000)
    address = parse_address(server.address.replace("/photos", "/many"))
    assert address is not None
    random = np.random.default_rng(3)
    centres = random.standard_normal((100, 64))
    vectors = unit(centres[random.integers(0, 100, 8_000)] + 0.7 * random.standard_normal((8_000, 64)))
    stored = vectors.astype(np.float16)
    queries = unit(centres + 0.7 * random.standard_normal((100, 64)))
    columns = [Column("parity", "integer")]
    store = MilvusStore(server_of(address), address.collection)
    store.create(64, columns, "test")
    store.prepare(columns)
    store.upsert([{"id": n, "parity": n % 10} for n in range(8_000)], stored)
    assert store.is_exact
    store.settle(written=8_000)
    assert not store.is_exact
    wide = stored.astype(np.float32)
    for where, allowed in (("", np.arange(8_000)), ("parity == 3", np.arange(3, 8_000, 10))):
        hits = 0
        for query in queries:
            scores = wide[allowed] @ query
            best = set(allowed[np.argsort(-scores)[:10]].tolist())
            found = store.nearest(query, 10, where)[:10]
            assert len({row["id"] for _, row in found}) == 10
            np.testing.assert_allclose(
                [s for s, _ in found], [wide[r["id"]] @ query for _, r in found], atol=1e-5
            )
            hits += len(best & {row["id"] for _, row in found})
        assert hits >= 970, where
    store.drop()
    store.close()
