"""The Milvus store: one collection of a Milvus server, or of Milvus Lite in this process.

Vectors lie beside scalar columns, by which a search can be narrowed down: see `clipsearch.milvus`. All that
is particular to the engine and its client stays here:

* Every call has a time limit. Within it, the client repeats a call that did not get through, with back-off
  (10 ms to 3 s); that is safe because every call here can be made twice: reads, upserts, deletes by id.
* Consistency is `Bounded` where nothing else is said: a search sees everything older than five seconds, and
  does not wait for what is on its way. `Strong` does: 0.2 to 0.4 s, which only writers pay.
* Padding, page limits and the client's own exceptions never leave.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from clipsearch.errors import LibraryError, LibraryUnreachableError, UsageError
from clipsearch.stores.exact import best

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from clipsearch.stores import Neighbors

    Consistency = Literal["Bounded", "Strong"]
    Row = dict[str, Any]

ID = "id"
VECTOR = "vector"
MOST = 16_384
"""A search gives no more than so many."""
# Up to here, a search of all vectors takes less than 20 ms and is exact. Lite has another HNSW, whose
# searches within filters find two thirds of the best.
FLAT_ROWS = 200_000
_HNSW = {"M": 16, "efConstruction": 200}
# Candidates that HNSW keeps at least. With 128, texts found 98.3 % of the ten best among 50,000 structured
# vectors (benchmarks.milvus), and 96.6 % within an expression that a tenth passes; with 512, 99.3 % within.
_EF, _EF_WITHIN = 256, 512
_TIES = 16  # asked for beyond the last, to see which ones are equal to it
_TIE = 1e-6
_PAGE = 2_000  # rows of an answer: far below the 64 MB that one may have
_AMONG = 8_192  # ids in one expression
_POLL_S = 0.1
_INDEXED_S = 86_400.0  # for a hundred million rows
_SEEN_S = 60.0  # what is written is seen by all within 5 s, unless the server has been told otherwise
_ABOUT = "clipsearch"  # the property that says what the collection is
_LOADED_S = 600.0
_REASON = 300  # characters of what a server says
# The client has no classes of errors for these, and servers' codes differ from version to version.
_NOT_LOADED = ("not loaded", "not fully loaded", "on recovering", "'released'")
_REFUSED = ("auth check failure", "unauthenticated", "permission deny", "permissiondenied", "invalid api key")
_SILENT = (
    "unavailable",
    "deadline",
    "timeout",
    "timed out",
    "fail connecting",
    "retry run out",
    "not ready",
    "failed to connect",
)


@dataclass(frozen=True, slots=True)
class Column:
    """A scalar that rows have. One that is indexed is looked up quickly."""

    name: str
    kind: Literal["text", "integer", "number", "json"]
    indexed: bool = False


@dataclass(frozen=True, slots=True)
class Server:
    """How to speak to a server, or to Milvus Lite.

    Attributes:
        name: What to call it in messages.
        uri: `http://HOST:PORT`, `https://HOST:PORT`, or the path of a file ending in `.db`.
        token: An API key or `USER:PASSWORD`; empty for none. It is in no message.
        ca: Certificates that the server's must be signed by; None for those of the system.
        timeout: Seconds that one call may take.
    """

    name: str
    uri: str
    token: str = ""
    ca: Path | None = None
    timeout: float = 10.0

    def __repr__(self) -> str:
        return f"Server({self.name!r})"

    @property
    def is_lite(self) -> bool:
        """Whether there is no server, but a file."""
        return self.uri.endswith(".db")


class MilvusStore:
    """One collection, connected when first asked.

    Args:
        server: Where it is.
        collection: Its name.
    """

    def __init__(self, server: Server, collection: str) -> None:
        self._server = server
        self._collection = collection
        self._client: Any = None
        self._loaded = False
        self._half: bool | None = None

    def close(self) -> None:
        """Let go of the connection; the store may be used again after."""
        if self._client is not None:
            with contextlib.suppress(Exception):  # a server that is gone has nothing to say
                self._client.close()
            self._client = None
            self._loaded = False

    # -- the collection ------------------------------------------------------------------------

    def about(self) -> str | None:
        """What `create` was told about the collection; None when there is none.

        Raises:
            LibraryError: The collection is of some other program.
        """
        if not self._call("has_collection"):
            return None
        found = self._call("describe_collection")["properties"].get(_ABOUT)
        if found is None:
            raise LibraryError(
                f"the collection {self._collection} of {self._server.name} is not of clipsearch",
                "name another",
            )
        return str(found)

    def create(self, dim: int, columns: Sequence[Column], about: str) -> None:
        """Make the collection, empty; `prepare` is next."""
        types = _imported().DataType
        kinds = {
            "text": (types.VARCHAR, {"max_length": 65_535}),
            "integer": (types.INT64, {}),
            "number": (types.DOUBLE, {}),
            "json": (types.JSON, {}),
        }
        schema = _imported().MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field(ID, types.INT64, is_primary=True)
        for column in columns:
            kind, options = kinds[column.kind]
            schema.add_field(column.name, kind, **options)
        schema.add_field(VECTOR, self._vector_type(), dim=dim)
        self._call(
            "create_collection", schema=schema, properties={_ABOUT: about}, consistency_level="Bounded"
        )

    def prepare(self, columns: Sequence[Column]) -> None:
        """Have everything that a search needs: what an interrupted run has not made is made now."""
        known = self._call("list_indexes")
        if VECTOR not in known:
            self._index("FLAT")
        params = _imported().MilvusClient.prepare_index_params()
        for column in columns:
            if column.indexed and column.name not in known:
                # Servers choose what suits the type and their version.
                kind = "INVERTED" if self._server.is_lite else ""
                params.add_index(column.name, index_type=kind, index_name=column.name)
        if len(params):
            self._call("create_index", index_params=params)
        self._load()

    def drop(self) -> None:
        """Take the collection and all its rows away."""
        self._call("drop_collection")
        self._loaded = False

    def _vector_type(self) -> Any:
        """Half precision where it is there: in servers from 2.4 on."""
        types = _imported().DataType
        version = str(self._call("get_server_version", collection=False)).lstrip("v").split(".")
        is_new = version[0].isdigit() and (int(version[0]), int(version[1])) >= (2, 4)
        return types.FLOAT16_VECTOR if is_new and not self._server.is_lite else types.FLOAT_VECTOR

    def _index(self, kind: Literal["FLAT", "HNSW"]) -> None:
        params = _imported().MilvusClient.prepare_index_params()
        # Inner products of stored vectors as they are: half precision has rounded their lengths, and other
        # stores do not correct that either.
        params.add_index(
            VECTOR,
            index_type=kind,
            index_name=VECTOR,
            metric_type="IP",
            params=_HNSW if kind == "HNSW" else {},
        )
        self._call("create_index", index_params=params)

    @property
    def is_exact(self) -> bool:
        """Whether a search reads all vectors."""
        return bool(self._call("describe_index", index_name=VECTOR)["index_type"] == "FLAT")

    def settle(self, *, written: int, tell: Callable[[str], None] = lambda _: None) -> None:
        """After writing: have rows where searches find all of them, under the index that suits their number.

        Args:
            written: How many rows are new.
            tell: Told what takes long.
        """
        if written:
            self._call("flush")
        rows = self.count(consistency="Strong")
        if rows > FLAT_ROWS and not self._server.is_lite:
            if self.is_exact:
                tell(f"building the index of {rows:,} photos")
                self._release()
                self._call("drop_index", index_name=VECTOR)
                self._index("HNSW")
                self._await_index()
            elif written * 100 >= rows:
                # New rows are searched by a coarse temporary index until the collection is loaded anew:
                # recall@10 of 0.90 instead of 0.99.
                tell(f"indexing {written:,} new photos")
                self._await_index()
                self._release()
            self._load()
        _wait(lambda: self.count() >= rows, _SEEN_S)

    def _release(self) -> None:
        self._call("release_collection")
        self._loaded = False

    def _await_index(self) -> None:
        def is_built() -> bool:
            state = self._call("describe_index", index_name=VECTOR)
            return state["state"] == "Finished" and not state["pending_index_rows"]

        if not _wait(is_built, _INDEXED_S):
            raise LibraryUnreachableError(
                f"{self._server.name} has not built an index within a day", "look at its log"
            )

    # -- rows ----------------------------------------------------------------------------------

    def __len__(self) -> int:
        """How many vectors it holds."""
        return self.count(consistency="Strong")

    def count(self, where: str = "", *, consistency: Consistency = "Bounded") -> int:
        """How many rows an expression lets pass."""
        found = self._read("query", filter=where, output_fields=["count(*)"], consistency_level=consistency)
        return int(found[0]["count(*)"])

    def get(
        self, ids: Sequence[int], fields: Sequence[str], *, consistency: Consistency = "Bounded"
    ) -> dict[int, Row]:
        """Rows by id; those that are not there are left out."""
        found: dict[int, Row] = {}
        size = _PAGE if VECTOR in fields else _AMONG
        for start in range(0, len(ids), size):
            page = [int(one) for one in ids[start : start + size]]
            rows = self._read(
                "query",
                filter=f"{ID} in {page}",
                output_fields=[ID, *fields],
                limit=len(page),
                consistency_level=consistency,
            )
            found.update({int(row[ID]): row for row in map(_plain, rows)})
        return found

    def rows(
        self,
        where: str,
        fields: Sequence[str],
        *,
        size: int = _PAGE,
        consistency: Consistency = "Bounded",
    ) -> Iterator[list[Row]]:
        """All rows that an expression lets pass, in pages, by ascending id."""
        pages = self._read(
            "query_iterator",
            batch_size=size,
            filter=where,
            output_fields=[ID, *fields],
            consistency_level=consistency,
        )
        try:
            while page := self._spoken(pages.next):
                yield [_plain(row) for row in page]
        finally:
            pages.close()

    def nearest(
        self, query: NDArray[np.float32], k: int, where: str = "", fields: Sequence[str] = ()
    ) -> list[tuple[float, Row]]:
        """The rows nearest to a vector, best first; beyond k those that are equal to the last, and some more.

        Args:
            query: `(dim,)` float32, unit length.
            k: At least this many, if there are as many; at most `MOST`.
            where: An expression that they pass; empty for all.
            fields: What to give of each row beside its id.

        Raises:
            UsageError: More than `MOST` were asked for.
        """
        if k > MOST:
            raise UsageError(
                f"Milvus gives its best {MOST:,} answers at most",
                "ask for fewer, or narrow down with filters",
            )
        limit, ef = min(k + _TIES, MOST), _EF_WITHIN if where else _EF
        while True:
            (hits,) = self._read(
                "search",
                data=[query.astype(np.float16) if self._is_half else query],
                anns_field=VECTOR,
                filter=where,
                limit=limit,
                output_fields=list(fields),
                search_params={"metric_type": "IP", "params": {"ef": max(ef, 2 * limit)}},
                consistency_level="Bounded",
            )
            found = [(float(hit["distance"]), {ID: int(hit[ID]), **hit["entity"]}) for hit in hits]
            is_tie = len(found) > k and found[k - 1][0] - found[-1][0] < _TIE
            if not is_tie or len(found) < limit or limit == MOST:
                return found
            limit = min(4 * limit, MOST)

    def search(self, query: NDArray[np.float32], k: int, among: NDArray[np.int64] | None = None) -> Neighbors:
        """See `VectorStore.search`."""
        wheres = (
            [""]
            if among is None
            else [
                f"{ID} in {among[start : start + _AMONG].tolist()}" for start in range(0, len(among), _AMONG)
            ]
        )
        found = [pair for where in wheres for pair in self.nearest(query, min(k, MOST), where)]
        return best(
            np.array([row[ID] for _, row in found], np.int64),
            np.array([score for score, _ in found], np.float32),
            k,
        )

    def blocks(self, size: int = _PAGE) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float16]]]:
        """See `VectorStore.blocks`."""
        for rows in self.rows("", [VECTOR], size=size):
            yield np.array([row[ID] for row in rows], np.int64), np.stack([row[VECTOR] for row in rows])

    # -- writing -------------------------------------------------------------------------------

    def upsert(self, rows: Sequence[Row], vectors: NDArray[np.float16]) -> None:
        """Write rows, over those with the same ids.

        Args:
            rows: Ids and columns.
            vectors: `(n, dim)` float16 unit rows.
        """
        stored = vectors if self._is_half else vectors.astype(np.float32)
        for start in range(0, len(rows), _PAGE):
            data = [
                {**row, VECTOR: vector}
                for row, vector in zip(
                    rows[start : start + _PAGE], stored[start : start + _PAGE], strict=True
                )
            ]
            # `insert` would leave a row twice on a server.
            self._call("upsert", data=data)

    def delete(self, ids: Sequence[int]) -> None:
        """Take rows out; on return no search of anybody finds them."""
        for start in range(0, len(ids), _AMONG):
            self._call("delete", ids=list(ids[start : start + _AMONG]))
        if ids:
            where = f"{ID} in {list(ids[-_AMONG:])}"
            _wait(lambda: not self.count(where), _SEEN_S)

    # -- calls ---------------------------------------------------------------------------------

    @property
    def _is_half(self) -> bool:
        if self._half is None:
            fields = self._call("describe_collection")["fields"]
            kind = next(field["type"] for field in fields if field["name"] == VECTOR)
            self._half = kind == _imported().DataType.FLOAT16_VECTOR
        return self._half

    def _load(self) -> None:
        if not self._loaded:
            self._call("load_collection", timeout=_LOADED_S)
            self._loaded = True

    def _read(self, name: str, **options: Any) -> Any:
        """A call that needs the collection in the server's memory; it may have been released."""
        try:
            return self._call(name, **options)
        except _NotLoadedError:
            self._loaded = False
            self._load()
            return self._call(name, **options)

    def _call(self, name: str, *, collection: bool = True, **options: Any) -> Any:
        options.setdefault("timeout", self._server.timeout)
        if collection:
            options["collection_name"] = self._collection
        return self._spoken(lambda: getattr(self._connected(), name)(**options))

    def _connected(self) -> Any:
        if self._client is None:
            server = self._server
            milvus = _imported()
            if server.is_lite and importlib.util.find_spec("milvus_lite") is None:
                raise _not_installed("milvus-lite")
            secure: dict[str, Any] = {"secure": True} if server.uri.startswith("https:") else {}
            if server.ca is not None:
                secure["server_pem_path"] = str(server.ca)
            # A connection of its own: those of the client's pool are found again by address alone.
            self._client = milvus.MilvusClient(
                uri=server.uri, token=server.token, timeout=server.timeout, dedicated=True, **secure
            )
        return self._client

    def _spoken(self, call: Callable[[], Any]) -> Any:
        """What a call gives; its errors in words, without the credentials.

        Raises:
            LibraryError: The server says no, or nothing.
        """
        milvus, grpc = _imported(), importlib.import_module("grpc")
        try:
            return call()
        except milvus.MilvusException as error:
            # Why there is no connection, only the error behind this one says, if it is not this one itself.
            behind = "" if error.__cause__ in {None, error} else str(error.__cause__)
            raise self._error(str(error.message), behind) from None
        except (grpc.RpcError, grpc.FutureTimeoutError) as error:
            raise self._error(str(error)) from None

    def _error(self, reason: str, behind: str = "") -> LibraryError:
        name, seconds = self._server.name, self._server.timeout
        lowered = f"{reason} {behind}".lower()
        if any(words in lowered for words in _NOT_LOADED):
            return _NotLoadedError(f"{name} has not loaded the collection {self._collection}")
        if any(words in lowered for words in _REFUSED):
            given = "refuses these credentials" if self._server.token else "asks for credentials"
            return LibraryError(
                f"{name} {given}",
                "set CLIPSEARCH_MILVUS_TOKEN, or CLIPSEARCH_MILVUS_USER and CLIPSEARCH_MILVUS_PASSWORD",
            )
        if any(words in lowered for words in _SILENT):
            return LibraryUnreachableError(
                f"{name} does not answer within {seconds:g} s",
                "is it running, and is the address right (milvuss:// for TLS)?"
                " CLIPSEARCH_MILVUS_TIMEOUT=60 waits longer",
            )
        if self._server.token:
            for secret in (self._server.token, self._server.token.partition(":")[2]):
                reason = reason.replace(secret, "...") if secret else reason
        return LibraryError(f"{name}: {' '.join(reason.split())[:_REASON]}")


class _NotLoadedError(LibraryError):
    """The collection is on the server's disk only."""


def _imported() -> Any:
    """The client, kept from writing to the terminal.

    Raises:
        LibraryError: It is not installed.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    for name in ("pymilvus", "grpc"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        return importlib.import_module("pymilvus")
    except ModuleNotFoundError:
        raise _not_installed("pymilvus") from None


def _wait(done: Callable[[], bool], seconds: float) -> bool:
    """Whether something has happened within a time."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(_POLL_S)
    return True


def _not_installed(package: str) -> LibraryError:
    return LibraryError(
        f"a library in Milvus needs the package {package}, which is not installed", f"pip install {package}"
    )


def _plain(row: Row) -> Row:
    """A row with its vector as `(dim,)` float16."""
    if VECTOR not in row:
        return dict(row)
    stored = row[VECTOR]
    if isinstance(stored[0], bytes):
        return {**row, VECTOR: np.frombuffer(stored[0], "<f2")}
    return {**row, VECTOR: np.asarray(stored, np.float32).astype(np.float16)}
