"""What the answers look like, for the description of the API; they are made by `clipsearch.records`."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - pydantic reads annotations at run time
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Content = Annotated[
    str,
    Field(
        pattern="^[0-9a-f]{20}$",
        description="Which bytes: exact copies share it. `thumbnail?v=` makes a thumbnail lasting in caches.",
    ),
]
Taken = Annotated[str | None, Field(description="When it was taken, by the camera's clock, in ISO 8601.")]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Problem(_Record):
    """What went wrong, and what to do about it."""

    error: str
    hint: str


class PhotoRecord(_Record):
    """A photo, as `--format json` has it."""

    id: int
    content: Content
    path: Annotated[str, Field(description=r"A byte that is not UTF-8 is the lone surrogate `\udcXX`.")]
    taken: Taken
    width: int
    height: int
    size: Annotated[int, Field(description="Bytes.")]
    camera: str | None
    lens: str | None
    latitude: float | None
    longitude: float | None
    seconds: Annotated[
        float | None, Field(description="Of a video, where the frame is that matches; null for photos.")
    ]


class PhotoDetailsRecord(PhotoRecord):
    """A photo with all that is known of it."""

    root: Annotated[str, Field(description="The indexed folder that it is in.")]
    folder: Annotated[str, Field(description="The folder that it is in.")]
    tags: list[str]
    caption: Annotated[str | None, Field(description="What `clipsearch caption` has written.")]
    words: Annotated[str | None, Field(description="What `clipsearch ocr` has read in it.")]
    modified: Annotated[str | None, Field(description="When the file was last changed, in UTC.")]


class MatchRecord(PhotoRecord):
    """A photo that answers a query."""

    rank: Annotated[int, Field(description="From 1, over all pages.")]
    score: Annotated[
        float | None, Field(description="Cosine similarity; null where filters alone were asked for.")
    ]
    strength: Annotated[
        Literal["strong", "fair", "weak"] | None, Field(description="How good a match it is.")
    ]
    margin: Annotated[float | None, Field(description="The number behind it.")]


class PredictionRecord(_Record):
    """How well labels fit a photo."""

    id: int
    path: str
    label: str
    probability: float
    probabilities: dict[str, float]


class SurestRecord(PredictionRecord):
    """A photo that stands for a label."""

    content: Content
    width: int
    height: int


class LabelRecord(_Record):
    """A label, how many photos have it, and those that have it most surely."""

    label: str
    photos: int
    surest: list[SurestRecord]


class DuplicateRecord(_Record):
    """A photo in a group of duplicates."""

    id: int
    content: Content
    group: int
    kind: Literal["best", "exact", "similar", "burst"]
    score: float
    distance: int | None
    path: str
    taken: Taken
    width: int
    height: int
    size: int


class UploadRecord(_Record):
    """An uploaded picture, as a term of a query."""

    id: Annotated[str, Field(pattern="^upload:[0-9a-f]+$")]


class MonthRecord(_Record):
    """How many photos were taken in a month."""

    month: Annotated[str | None, Field(description="`2023-05`; null for those that do not say.")]
    photos: int


class FolderRecord(_Record):
    """How many photos are in a folder and below it."""

    path: str
    name: str
    photos: int


class TagRecord(_Record):
    """How many photos have a tag."""

    tag: str
    photos: int


class ConceptRecord(_Record):
    """What was taught by example."""

    name: str
    liked: int
    unliked: int
    learned: datetime


class RootRecord(_Record):
    """An indexed folder."""

    path: str
    photos: int
    skipped: int
    online: bool
    last_indexed: datetime | None


class StatusRecord(_Record):
    """What the library holds, as `clipsearch status --json` has it."""

    path: str
    version: int
    roots: list[RootRecord]
    photos: int
    contents: int
    embeddings: int
    skipped: int
    model: dict[str, Any] | None
    catalog_bytes: int
    store_bytes: int
    store_rows: int
    grouped_rows: int
    last_run: dict[str, Any] | None
    videos: Annotated[int, Field(description="Of the photos.")]
    others: Annotated[list[dict[str, Any]], Field(description="Models beside the one that answers.")]


class ArchiveRequest(_Record):
    """Which photos to pack."""

    ids: Annotated[
        list[Annotated[int, Field(strict=True, ge=1, le=2**63 - 1)]], Field(min_length=1, max_length=1_000)
    ]
