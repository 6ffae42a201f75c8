"""Every vector store keeps the same contract: ids and scores as numpy computes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from milvus_server import MilvusServer

from clipsearch.stores import faiss as faiss_store
from clipsearch.stores import grouped as grouped_store
from clipsearch.stores.exact import ExactStore
from clipsearch.stores.faiss import FaissStore
from clipsearch.stores.grouped import GroupedStore
from clipsearch.stores.milvus import MilvusStore, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from clipsearch.stores import VectorStore

    Build = Callable[[NDArray[np.int64], NDArray[np.float16]], VectorStore]

DIM = 48
CENTRES = np.random.default_rng(6).standard_normal((12, DIM))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusServer]:
    running = MilvusServer(tmp_path_factory.mktemp("milvus") / "data")
    running.start()
    yield running
    running.kill()


SERVER = pytest.param("server", marks=pytest.mark.cluster)


@pytest.fixture(params=["exact", "faiss", "grouped", "lite", SERVER])
def build(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Build]:
    opened: list[MilvusStore] = []

    def exact(ids: NDArray[np.int64], vectors: NDArray[np.float16]) -> VectorStore:
        return ExactStore(ids, vectors)

    def faiss(ids: NDArray[np.int64], vectors: NDArray[np.float16]) -> VectorStore:
        middle = len(ids) // 3
        blocks = [(ids[:middle], vectors[:middle]), (ids[middle:], vectors[middle:])]
        faiss_store.build(tmp_path / "store.faiss", DIM, len(ids), blocks)
        return FaissStore(tmp_path / "store.faiss")

    def grouped(ids: NDArray[np.int64], vectors: NDArray[np.float16]) -> VectorStore:
        path = tmp_path / "store.faiss"
        monkeypatch.setattr(grouped_store, "MAX_SHARE", 1)
        monkeypatch.setattr(grouped_store, "RECALL", 1.0)
        assert grouped_store.build_grouped(path, DIM, ExactStore(ids, vectors), queries(200))
        return GroupedStore(path)

    def milvus(ids: NDArray[np.int64], vectors: NDArray[np.float16]) -> VectorStore:
        uri = str(tmp_path / "store.db")
        if request.param == "server":
            uri = f"http://127.0.0.1:{request.getfixturevalue('server').port}"
        store = MilvusStore(Server("the server", uri), "store")
        opened.append(store)
        store.create(DIM, [], "a test")
        store.prepare([])
        store.upsert([{"id": key} for key in ids.tolist()], vectors)
        store.settle(written=len(ids))
        return store

    builds = {"exact": exact, "faiss": faiss, "grouped": grouped, "lite": milvus, "server": milvus}
    yield builds[request.param]
    for store in opened:
        store.drop()
        store.close()


@pytest.fixture
def data() -> tuple[NDArray[np.int64], NDArray[np.float16]]:
    random = np.random.default_rng(7)
    # In clusters, as photos are.
    vectors = CENTRES[random.integers(0, len(CENTRES), 500)] + 0.6 * random.standard_normal((500, DIM))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = random.permutation(np.arange(1, 5_000, 9))[:500]
    return ids.astype(np.int64), vectors.astype(np.float16)


def queries(count: int) -> NDArray[np.float32]:
    random = np.random.default_rng(8)
    rows = CENTRES[random.integers(0, len(CENTRES), count)] + 0.6 * random.standard_normal((count, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def expected(
    ids: NDArray[np.int64], vectors: NDArray[np.float16], query: NDArray[np.float32], k: int
) -> tuple[list[int], NDArray[np.float64]]:
    scores = vectors.astype(np.float64) @ query.astype(np.float64)
    order = np.argsort(-scores, kind="stable")[:k]
    return ids[order].tolist(), scores[order]


@pytest.mark.parametrize("k", [1, 10, 500])
def test_finds_the_same_neighbors_and_scores_as_numpy(build: Build, data, k: int) -> None:
    ids, vectors = data
    store = build(ids, vectors)
    assert len(store) == 500
    for query in queries(20):
        wanted_ids, wanted_scores = expected(ids, vectors, query, k)
        found = store.search(query, k)
        assert found.ids.tolist() == wanted_ids
        np.testing.assert_allclose(found.scores, wanted_scores, atol=1e-6)


@pytest.mark.parametrize("share", [1, 7, 100])
def test_a_search_among_some_ids_is_exact(build: Build, data, share: int) -> None:
    ids, vectors = data
    store = build(ids, vectors)
    allowed = np.sort(ids)[::share]
    inside = np.isin(ids, allowed)
    for query in queries(10):
        wanted_ids, wanted_scores = expected(ids[inside], vectors[inside], query, 10)
        found = store.search(query, 10, allowed)
        assert found.ids.tolist() == wanted_ids
        np.testing.assert_allclose(found.scores, wanted_scores, atol=1e-6)


def test_padding_never_leaves_the_adapter(build: Build, data) -> None:
    ids, vectors = data
    store = build(ids, vectors)
    query = queries(1)[0]
    assert sorted(store.search(query, 10_000).ids.tolist()) == sorted(ids.tolist())
    assert store.search(query, 10, np.sort(ids)[:3]).ids.size == 3
    assert store.search(query, 10, np.empty(0, np.int64)).ids.size == 0
    assert store.search(query, 10, np.array([2, 4], np.int64)).ids.size == 0, "ids the store does not have"


def test_equal_scores_come_by_ascending_id(build: Build) -> None:
    vectors = np.zeros((6, DIM), np.float16)
    vectors[:, 0] = 1
    store = build(np.array([40, 10, 60, 30, 20, 50], np.int64), vectors)
    found = store.search(np.eye(DIM, dtype=np.float32)[0], 6)
    assert found.ids.tolist() == [10, 20, 30, 40, 50, 60]


def test_blocks_give_every_vector_back_bit_for_bit(build: Build, data) -> None:
    ids, vectors = data
    store = build(ids, vectors)
    blocks = list(store.blocks(size=64))
    assert max(len(block_ids) for block_ids, _ in blocks) == 64
    order = np.arange(len(ids))
    if isinstance(store, GroupedStore | MilvusStore):
        order = np.argsort(ids)
    np.testing.assert_array_equal(np.concatenate([block_ids for block_ids, _ in blocks]), ids[order])
    np.testing.assert_array_equal(np.concatenate([rows for _, rows in blocks]), vectors[order])


@pytest.mark.parametrize("damage", ["missing", "empty", "garbage", "truncated"])
def test_a_damaged_file_is_an_os_error(tmp_path: Path, data, damage: str) -> None:
    path = tmp_path / "store.faiss"
    if damage != "missing":
        faiss_store.build(path, DIM, len(data[0]), [data])
        whole = path.read_bytes()
        path.write_bytes(
            {"empty": b"", "garbage": b"x" * len(whole), "truncated": whole[: len(whole) // 2]}[damage]
        )
    with pytest.raises(OSError, match="store"):
        FaissStore(path)
    with pytest.raises(OSError, match="store"):
        GroupedStore(path)


def test_a_store_of_the_other_kind_is_an_os_error(
    tmp_path: Path, data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grouped_store, "MAX_SHARE", 1)
    flat, grouped = tmp_path / "flat.store", tmp_path / "grouped.store"
    faiss_store.build(flat, DIM, len(data[0]), [data])
    assert grouped_store.build_grouped(grouped, DIM, FaissStore(flat), queries(50))
    with pytest.raises(OSError, match="store"):
        GroupedStore(flat)
    with pytest.raises(OSError, match="store"):
        FaissStore(grouped)
