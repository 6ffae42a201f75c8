"""What a library holds, as questions ask for it: in a folder of this machine, or in a Milvus collection."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from clipsearch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from clipsearch.address import Address
    from clipsearch.types import (
        Filters,
        FolderCount,
        LibraryStatus,
        Listeners,
        Model,
        MonthCount,
        Photo,
        SkippedFile,
    )


class Nearest(NamedTuple):
    """The photos nearest to a vector, best first.

    Attributes:
        photos: With their scores, cosine similarities.
        last: No photo that is left out has a higher score than this.
        whole: None is left out.
    """

    photos: list[tuple[float, Photo]]
    last: float
    whole: bool


class Selection(Protocol):
    """The photos that pass filters, as they are now."""

    def nearest(self, vector: NDArray[np.float32], k: int) -> Nearest:
        """Of the photos nearest to a `(dim,)` unit vector, those of k contents; some may have none by now.

        A video answers once, with its best frame.
        """
        ...

    def newest(self, limit: int, offset: int) -> list[Photo]:
        """Those taken last first, equal ones by path, those without a date at the end.

        Where the filters ask for words, those that these fit best come first.
        """
        ...

    def months(self) -> list[MonthCount]:
        """How many were taken in each month, the first month first, those without a date last."""
        ...

    def embeddings(self) -> Iterator[tuple[list[int], list[str], NDArray[np.float32]]]:
        """All ids and paths with their `(n, dim)` embeddings, in blocks, a row a photo."""
        ...

    def photos(self) -> Iterator[tuple[list[Photo], NDArray[np.float32]]]:
        """All photos with their `(n, dim)` embeddings, in blocks, a row a photo."""
        ...


class Holdings(Protocol):
    """Photos, their embeddings and the model that made these."""

    def close(self) -> None:
        """Let go of files and connections."""
        ...

    def tell_again(self) -> None:
        """Tell anew what is told once."""
        ...

    def renew(self) -> None:
        """Between two questions: have another model answer if it was chosen meanwhile."""
        ...

    def model(self) -> tuple[int, Model]:
        """Id and identity of the model; the same from one `renew` to the next.

        Raises:
            NoLibraryError: Nothing has been embedded yet.
            UnknownModelError: There is no such model any more.
        """
        ...

    def within(self, filters: Filters) -> Selection:
        """The photos that pass filters.

        Raises:
            UsageError: Such filters cannot be asked for here.
        """
        ...

    def photo(self, key: int) -> Photo:
        """The photo with this id.

        Raises:
            UsageError: There is none.
        """
        ...

    def content_of(self, digest: bytes) -> int | None:
        """Id of the content with this SHA-256, or None."""
        ...

    def photo_at(self, path: Path) -> Photo | None:
        """The photo at an absolute path, or None."""
        ...

    def parts_of(self, content: int) -> list[int]:
        """The contents that answer for a content: of a video its frames, the content itself among them."""
        ...

    def vector(self, content: int) -> NDArray[np.float16] | None:
        """`(dim,)` embedding of a content; None when there is none, or a damaged one."""
        ...

    def vectors_of(self, photos: Sequence[Photo]) -> dict[int, NDArray[np.float16]]:
        """`vector` of the content of each photo, by content; those without one are left out."""
        ...

    def digests(self, photos: Sequence[Photo]) -> dict[int, bytes]:
        """SHA-256 of the bytes of photos, by content; of those that are gone, none."""
        ...

    def folders(self, inside: Path | None) -> list[FolderCount]:
        """The folders right below one, or the uppermost, by name, with the photos in and below each."""
        ...

    def skipped(self) -> list[SkippedFile]:
        """Files that could not be read, by path."""
        ...

    def status(self) -> LibraryStatus:
        """What is there."""
        ...

    def forget(self, folder: Path) -> int:
        """Take a folder's photos out; returns how many.

        Raises:
            UsageError: It has no such folder.
        """
        ...


def open_holdings(place: Path | Address, listeners: Listeners, model: str | None = None) -> Holdings:
    """What is in a folder, or in a collection.

    Args:
        place: Of the library.
        listeners: For notices.
        model: Name of the model that answers; None for the library's default one.

    Raises:
        NoLibraryError: There is no library.
        LibraryError: It cannot be used.
        UsageError: A collection has one model, and none to choose.
    """
    if isinstance(place, Path):
        from clipsearch.local import LocalHoldings

        return LocalHoldings(place, listeners, model)
    if model is not None:
        raise UsageError(f"{place} has one model, and none to choose", "leave --model away")
    from clipsearch.milvus.holdings import MilvusHoldings

    return MilvusHoldings(place)
