"""Embedded photos in Parquet files: what a cluster hands over to a library or a vector database.

A folder, on a disk or in object storage, of::

    model.json                  whose embeddings these are
    sources/NAME.json           a folder that was embedded as a whole
    photos/part-NAME.parquet    a shard: photos and their embeddings, see `clipsearch.rows`
    skipped/part-NAME.parquet   its photos that could not be read, and why, if there are any

A file appears once it is whole, and is never changed. A shard is finished when its file is in `photos`.
"""

from __future__ import annotations

import io
import json
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from clipsearch.encoders.cache import model_from_json, model_to_json
from clipsearch.encoders.opening import check_same
from clipsearch.errors import OutputError, UsageError
from clipsearch.new_file import write_new
from clipsearch.photos.places import canonical, file_system, is_local
from clipsearch.rows import read_path, row_id, schema, spell_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from clipsearch.types import Model

INSTALL = 'pip install "clipsearch[cluster]"'
_FORMAT = 1
_MODEL = "model.json"
_PHOTOS, _SKIPPED, _SOURCES = "photos", "skipped", "sources"
# Columns with few values; a dictionary of numbers that are all different takes a tenth more.
_REPEATED = frozenset(("taken", "camera", "lens", "extra", "reason"))
_PREFIX, _SUFFIX = "part-", ".parquet"


class Skipped(NamedTuple):
    """A photo that could not be read, and why."""

    path: str
    reason: str


class Shards:
    """Such a folder, there or yet to be made.

    Args:
        place: Path or URL.

    Raises:
        UsageError: pyarrow is not installed, or there is nothing that opens such places.
    """

    def __init__(self, place: str) -> None:
        try:
            import pyarrow.parquet  # noqa: F401 - now, not after hours
        except ImportError:
            raise UsageError("Parquet files need the package pyarrow", INSTALL) from None
        self.place = canonical(place)
        self._files, self._root = file_system(place)

    # -- whose embeddings ------------------------------------------------------------------------

    @cached_property
    def model(self) -> Model | None:
        """The model that made the embeddings; None where there are none yet.

        Raises:
            UsageError: The folder cannot be read, or says something else.
        """
        file = f"{self._root}/{_MODEL}"
        try:
            content = json.loads(self._files.cat_file(file))
            if content["format"] != _FORMAT:
                raise UsageError(
                    f"{self.place} has format {content['format']}; this clipsearch knows format {_FORMAT}",
                    "update clipsearch: pip install --upgrade clipsearch",
                )
            return model_from_json(content["model"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            raise UsageError(f"damaged, or not of clipsearch: {self.place}/{_MODEL}") from None
        except OSError as error:
            raise _unreadable(self.place, error) from error

    def set_model(self, model: Model) -> None:
        """Say whose embeddings these are.

        Raises:
            ModelMismatchError: They are another's.
            OutputError: The folder cannot be written.
        """
        if self.model is not None:
            check_same(model, self.model)
            return
        content = {"format": _FORMAT, "model": model_to_json(model)}
        self._write(_MODEL, json.dumps(content, indent=2).encode())
        del self.model  # what is there may be another's, who was faster
        self.set_model(model)

    def sources(self) -> list[str]:
        """The folders, or URLs of such, that were embedded as a whole, or that this was begun for."""
        try:
            return [
                read_path(json.loads(self._files.cat_file(file))["source"])
                for file in self._list(_SOURCES, ".json")
            ]
        except (ValueError, KeyError, TypeError):
            raise UsageError(f"damaged, or not of clipsearch: {self.place}/{_SOURCES}") from None

    # -- writing ---------------------------------------------------------------------------------

    def add_source(self, folder: str) -> None:
        """Note that a folder is embedded as a whole.

        Raises:
            OutputError: The folder of the files cannot be written.
        """
        content = json.dumps({"source": spell_path(folder)}).encode()
        self._write(f"{_SOURCES}/{row_id(folder):016x}.json", content)

    def write(self, name: str, batch: pa.RecordBatch, skipped: Sequence[Skipped]) -> None:
        """Write a shard; one of this name that is there already stays as it is.

        Args:
            name: Of the shard: always the same for the same photos.
            batch: Of `rows.schema`.
            skipped: Its photos that could not be read.

        Raises:
            OutputError: The folder cannot be written.
        """
        import pyarrow as pa

        if skipped:
            columns = [
                pa.array([row_id(one.path) for one in skipped], pa.int64()),
                pa.array([spell_path(one.path) for one in skipped]),
                pa.array([one.reason for one in skipped]),
            ]
            table = pa.RecordBatch.from_arrays(columns, ["id", "path", "reason"])
            self._write(f"{_SKIPPED}/{_PREFIX}{name}{_SUFFIX}", _parquet(table))
        # Last: with it, the shard is finished.
        self._write(f"{_PHOTOS}/{_PREFIX}{name}{_SUFFIX}", _parquet(batch))

    def _write(self, name: str, data: bytes) -> None:
        try:
            if is_local(self.place):
                file = Path(self._root, name)
                file.parent.mkdir(parents=True, exist_ok=True)
                if not file.exists():  # else of a worker that was thought to be dead
                    write_new(file, data)
            else:
                # Object storage shows an object once it is whole.
                self._files.pipe_file(f"{self._root}/{name}", data)
        except Exception as error:
            if isinstance(error, FileExistsError) and file.is_file():
                return  # that worker was still faster
            if not isinstance(error, OSError) and is_local(self.place):
                raise
            raise OutputError(
                f"cannot be written: {self.place} ({_reason(error)})",
                "what is finished is kept; make it writable, on every node, and run the same command again",
            ) from error

    # -- reading ---------------------------------------------------------------------------------

    def finished(self) -> set[str]:
        """Names of the shards that are there."""
        return {_name(file) for file in self._list(_PHOTOS)}

    def ids(self, *, skipped: bool = True) -> NDArray[np.int64]:
        """Ids of all photos that are there, ascending.

        Args:
            skipped: Those that could not be read, too.
        """
        folders = [_PHOTOS, _SKIPPED] if skipped else [_PHOTOS]
        parts = [
            batch.column("id").to_numpy()
            for folder in folders
            for file in self._list(folder)
            for batch in self._batches(file, ["id"])
        ]
        return np.unique(np.concatenate(parts)) if parts else np.empty(0, np.int64)

    def batches(self, columns: Sequence[str] | None = None, *, rows: int = 8192) -> Iterator[pa.RecordBatch]:
        """Photos in batches of at most so many rows, shard by shard; see `rows.from_arrow`.

        Args:
            columns: Some of those of `rows.schema`; all when None.
            rows: In a batch, at most.

        Raises:
            UsageError: A file is damaged, or not of clipsearch.
        """
        model = self.needed_model()
        wanted = schema(model.dim)
        for file in self._list(_PHOTOS):
            for batch in self._batches(file, columns, rows):
                if any(not wanted.field(one.name).equals(one) for one in batch.schema):
                    raise _damaged(self._shown(file), "its columns are others")
                yield batch

    def skipped(self) -> Iterator[Skipped]:
        """Photos that could not be read; a later run may have read some of them."""
        for file in self._list(_SKIPPED):
            for batch in self._batches(file, ["path", "reason"]):
                for path, reason in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    yield Skipped(read_path(path), reason)

    def count(self) -> int:
        """Rows of photos, by what the files say at their ends."""
        import pyarrow.parquet as pq

        total = 0
        for file in self._list(_PHOTOS):
            with self._opened(file) as stream:
                total += pq.ParquetFile(stream).metadata.num_rows
        return total

    def needed_model(self) -> Model:
        """The model that made the embeddings.

        Raises:
            UsageError: There are none.
        """
        if self.model is None:
            raise UsageError(
                f"no embedded photos in {self.place}",
                "name the folder that `clipsearch cluster index --to` has written",
            )
        return self.model

    def _list(self, folder: str, suffix: str = _SUFFIX) -> list[str]:
        try:
            found = self._files.ls(f"{self._root}/{folder}", detail=False)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _unreadable(self.place, error) from error
        names = ((file.rsplit("/", 1)[-1], file) for file in found)
        return sorted(file for name, file in names if name.endswith(suffix) and not name.startswith("."))

    def _batches(
        self, file: str, columns: Sequence[str] | None = None, rows: int = 1 << 20
    ) -> Iterator[pa.RecordBatch]:
        import pyarrow.parquet as pq

        with self._opened(file) as stream:
            parquet = pq.ParquetFile(stream)
            if missing := set(columns or ()) - set(parquet.schema_arrow.names):
                raise _damaged(self._shown(file), f"no column {min(missing)}")
            yield from parquet.iter_batches(rows, columns=columns)

    @contextmanager
    def _opened(self, file: str) -> Iterator[io.BufferedIOBase]:
        import pyarrow as pa

        try:
            with self._files.open(file, "rb") as stream:
                yield stream
        except (pa.ArrowException, OSError) as error:
            raise _damaged(self._shown(file), _reason(error)) from error

    def _shown(self, file: str) -> str:
        return self.place + file.removeprefix(self._root)


def _parquet(batch: pa.RecordBatch) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(
        pa.Table.from_batches([batch]),
        sink,
        compression="zstd",
        use_dictionary=[name for name in batch.schema.names if name in _REPEATED],
        write_page_checksum=True,
    )
    return sink.getvalue()


def _name(file: str) -> str:
    return file.rsplit("/", 1)[-1].removeprefix(_PREFIX).removesuffix(_SUFFIX)


def _unreadable(place: str, error: OSError) -> UsageError:
    return UsageError(f"cannot be read: {place} ({_reason(error)})", "check the address and its credentials")


def _damaged(file: str, reason: str) -> UsageError:
    return UsageError(
        f"damaged, or not of clipsearch: {file} ({reason})",
        "move it away and run `clipsearch cluster index` again: only its photos are embedded anew",
    )


def _reason(error: Exception) -> str:
    said = (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
    return said[:1].lower() + said[1:]
