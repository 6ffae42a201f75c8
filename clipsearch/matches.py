"""Photos, and which of them answer: what a search takes and gives.

Apart from the other values, because to make a frozen dataclass takes Python 0.7 ms, which a search that a
server answers would have to wait for; what is of no use to others is a named tuple, which takes 0.2.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from clipsearch.types import DownloadProgress, IndexProgress

Shape = Literal["landscape", "portrait", "square"]
Strength = Literal["strong", "fair", "weak"]

NEAR_KM = 10.0
"""How near to a place is near, where nothing else is said."""


class Place(NamedTuple):
    """A point on the earth, in degrees (WGS 84): north and east are positive."""

    latitude: float
    longitude: float


class Metadata(NamedTuple):
    """What a picture says about itself, from EXIF; each None where it does not say.

    Attributes:
        taken: When it was taken; naive where the camera wrote no offset.
        camera: Maker and model.
        lens: Model of the lens.
        place: Where it was taken.
    """

    taken: datetime | None = None
    camera: str | None = None
    lens: str | None = None
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Photo:
    """A file on disk that the catalog knows.

    Attributes:
        id: Of this file in the catalog.
        content: Id of its bytes; exact copies share it.
        path: Absolute path.
        width: Pixels, upright.
        height: Pixels, upright.
        size: Bytes.
        metadata: What it says about itself.
        seconds: Where in a video the frame is that is meant; None for photos, and for a video as a whole.
    """

    id: int
    content: int
    path: Path
    width: int
    height: int
    size: int
    metadata: Metadata = Metadata()  # noqa: RUF009 - a tuple
    seconds: float | None = None

    @property
    def taken(self) -> datetime | None:
        """When it was taken; naive where the camera wrote no offset."""
        return self.metadata.taken


@dataclass(frozen=True, slots=True)
class Match:
    """A photo that answers a query.

    Attributes:
        rank: From 1.
        score: Cosine similarity, higher is better; None where filters alone were asked for.
        photo: The photo.
        strength: How good a match it is, `weak` where it is no better than chance; see
            `clipsearch.strength`. None where that cannot be told.
        margin: The number behind it.
    """

    rank: int
    score: float | None
    photo: Photo
    strength: Strength | None = None
    margin: float | None = None

    @property
    def path(self) -> Path:
        """Absolute path of the photo."""
        return self.photo.path


@dataclass(frozen=True, slots=True)
class Filters:
    """Which photos may answer: those that pass all that are given. `filters` reads them from words.

    Dates are those of the camera's own clock, wherever it was; a photo without the fact that a filter asks
    for does not pass it.

    Attributes:
        inside: In this folder or below it.
        glob: Pattern of the file's name or, with a `/` in it, of the end of its path; upper and lower case
            are one.
        after: Taken then or later; naive.
        before: Taken earlier than then; naive.
        camera: Part of the camera's name; upper and lower case are one.
        lens: Part of the lens's name, likewise.
        near: Taken within `within` km of this place.
        within: Kilometres.
        shape: Wider than high, higher than wide, or neither by more than 2 %.
        min_sides: Pixels of the shorter and of the longer side, at least.
        min_pixels: Pixels in all, at least.
        tags: Has all of these tags; upper and lower case are one.
        text: Has these words in its caption or in the picture; see `clipsearch.catalog.texts.all_of`.
    """

    inside: Path | None = None
    glob: str | None = None
    after: datetime | None = None
    before: datetime | None = None
    camera: str | None = None
    lens: str | None = None
    near: Place | None = None
    within: float = NEAR_KM
    shape: Shape | None = None
    min_sides: tuple[int, int] | None = None
    min_pixels: int = 0
    tags: tuple[str, ...] = ()
    text: str | None = None

    def __bool__(self) -> bool:
        return self != Filters(within=self.within)


@dataclass(frozen=True, slots=True)
class Term:
    """One part of a query: a text or a picture, how much it counts, and which way.

    Attributes:
        value: Text, image path, http(s) URL, name of a concept, id of a photo; or a name for `vector`.
        weight: Positive to add, negative to subtract.
        kind: What `value` is.
        vector: `(dim,)` unit embedding of a picture that was embedded before, for the kind `embedding`.
    """

    value: str
    weight: float = 1.0
    kind: Literal["text", "image", "url", "concept", "photo", "embedding"] = field(default="text")
    vector: NDArray[np.float32] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Listeners:
    """Where the library reports to while it works; each may be None. Called on the caller's thread.

    Attributes:
        notice: One plain sentence the user should see ("the vector index was damaged and ...").
        download: Progress of a model download.
        index: Progress of an index run.
    """

    notice: Callable[[str], None] | None = None
    download: Callable[[DownloadProgress], None] | None = None
    index: Callable[[IndexProgress], None] | None = None

    def tell(self, sentence: str) -> None:
        """Pass one sentence to `notice`, if anyone listens."""
        if self.notice is not None:
            self.notice(sentence)
