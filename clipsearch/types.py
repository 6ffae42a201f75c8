"""The values that pass between the parts: plain frozen dataclasses, no behaviour, no heavy imports.

Those of a search are in `clipsearch.matches`, and here as well.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from clipsearch.matches import (
    NEAR_KM,
    Filters,
    Listeners,
    Match,
    Metadata,
    Photo,
    Place,
    Shape,
    Strength,
    Term,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

__all__ = (  # beside those defined here
    "NEAR_KM",
    "Filters",
    "Listeners",
    "Match",
    "Metadata",
    "Photo",
    "Place",
    "Shape",
    "Strength",
    "Term",
)

ResizeMode = Literal["shortest", "longest", "squash"]


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How a model wants its pictures, in OpenCLIP's own terms (`open_clip.transform.PreprocessCfg`).

    Attributes:
        size: Height and width in pixels.
        resize_mode: `shortest` scales the short side and crops the centre, `longest` scales the
            long side and pads, `squash` ignores the aspect ratio.
        interpolation: `bicubic` or `bilinear`.
        fill_color: Grey level 0-255 of the padding in mode `longest`.
        mean: Of each RGB channel, on the 0-1 scale.
        std: Of each RGB channel, on the 0-1 scale.
    """

    size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize_mode: ResizeMode = "shortest"
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    fill_color: int = 0


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model comes from, as the user named it, made canonical.

    Attributes:
        name: `ARCHITECTURE/PRETRAINED` (`ViT-B-32-256/datacomp_s34b_b86k`), `hf-hub:ORG/REPO`,
            `local-dir:/absolute/folder` (OpenCLIP's hub layout), `builtin`, or, with `weights`,
            a bare architecture name.
        weights: Absolute path of a local checkpoint, or None.
    """

    name: str
    weights: Path | None = None

    def __str__(self) -> str:
        return self.name if self.weights is None else f"{self.name} with {self.weights}"


@dataclass(frozen=True, slots=True)
class Model:
    """What makes two embeddings comparable: stored beside every vector.

    Attributes:
        source: How to load it again.
        fingerprint: Hex SHA-256 over architecture, weights and preprocessing.
        dim: Length of an embedding.
        logit_scale: Factor on the cosine before softmax or sigmoid (already exponentiated).
        logit_bias: Added after the factor; None for models trained with softmax (CLIP), a number
            for models trained with the sigmoid loss (SigLIP).
        preprocessing: How pictures are brought to the model's input.
    """

    source: ModelSource
    fingerprint: str
    dim: int
    logit_scale: float
    logit_bias: float | None
    preprocessing: Preprocessing


@dataclass(frozen=True, slots=True)
class PhotoDetails:
    """All that the catalog knows of a photo.

    Attributes:
        photo: The photo.
        root: The indexed folder that it is in.
        digest: SHA-256 of its bytes.
        modified: When it was last changed, in UTC; None where it waits to be read again.
        tags: The surest first.
        caption: None where nobody has written one.
        words: Those read in it; None where there are none, or nobody has read it.
    """

    photo: Photo
    root: Path
    digest: bytes
    modified: datetime | None
    tags: tuple[str, ...]
    caption: str | None
    words: str | None


class Prediction(NamedTuple):
    """Zero-shot classification of one photo.

    Attributes:
        file: Absolute path of the photo; a million `Path` objects would take seconds to make.
        probabilities: One for each label, in the order the labels were given. They sum to 1 for
            softmax models; each stands alone for sigmoid models.
        best: Position of the most probable label, the first of equals.
        photo: Id of the photo; None for a file that was named.
    """

    file: str
    probabilities: tuple[float, ...]
    best: int
    photo: int | None = None

    @property
    def path(self) -> Path:
        """Absolute path of the photo."""
        from pathlib import Path

        return Path(self.file)


LIKENESS_BYTES = 32


class Likeness(NamedTuple):
    """What a picture looks like.

    Attributes:
        hash: Perceptual hash, `LIKENESS_BYTES` long.
        contrast: Standard deviation of its grey levels at 32 x 32 pixels, 0 to 128.
        sharpness: Variance of the Laplacian of its grey levels (Pech-Pacheco et al. 2000, "Diatom
            autofocusing in brightfield microscopy") over the variance of these levels.
    """

    hash: bytes
    contrast: float
    sharpness: float


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A photo in a group of duplicates.

    Attributes:
        photo: The photo.
        kind: `best` for the one that the others are held against; `exact` for the same bytes, `similar` for
            the same picture, `burst` for one taken in the same moment.
        score: Cosine similarity of it and the best.
        distance: Bits of 256 in which their perceptual hashes differ; None where none was needed.
    """

    photo: Photo
    kind: Literal["best", "exact", "similar", "burst"]
    score: float
    distance: int | None


@dataclass(frozen=True, slots=True)
class TaggedPhoto:
    """A photo and its tags, the surest first."""

    path: Path
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TagReport:
    """What a `tag` run did.

    Attributes:
        looked_at: Contents held against the words; exact copies count once.
        tagged: Those of them that got a tag.
        tags: Tags given.
        words: Words to choose from.
        unknown: Those of them that mean nothing to the model.
        seconds: Wall clock.
    """

    looked_at: int
    tagged: int
    tags: int
    words: int
    unknown: int
    seconds: float


@dataclass(frozen=True, slots=True)
class SidecarReport:
    """What writing sidecars did: files made, given more tags, found to have them all, left alone."""

    new: int
    changed: int
    unchanged: int
    left_alone: int


@dataclass(frozen=True, slots=True)
class Concept:
    """What was taught by example.

    Attributes:
        name: After the `@` of a query.
        liked: Photos that show it.
        unliked: Photos that do not.
        learned: UTC.
    """

    name: str
    liked: int
    unliked: int
    learned: datetime


class MonthCount(NamedTuple):
    """How many photos were taken in a month, `2023-05`; None for those that do not say when."""

    month: str | None
    photos: int


class FolderCount(NamedTuple):
    """How many photos lie in a folder and below it."""

    path: Path
    photos: int


@dataclass(frozen=True, slots=True)
class SkippedFile:
    """A file that could not be read, and why. It is left alone until it changes or on request."""

    path: Path
    reason: str
    size: int
    when: datetime


@dataclass(frozen=True, slots=True)
class RootStatus:
    """One indexed folder. `online` is False while the folder cannot be reached (an unplugged drive)."""

    path: Path
    photos: int
    skipped: int
    online: bool
    last_indexed: datetime | None


@dataclass(frozen=True, slots=True)
class LibraryModel:
    """A model of a library, and what of the library it has embedded.

    Attributes:
        source: How to load it.
        fingerprint: See `Model`.
        dim: Length of an embedding.
        is_default: Whether it answers where none is named.
        photos: That it has embeddings of.
        missing: That it has none of yet.
        bytes: Its embeddings and its vector index.
    """

    source: ModelSource
    fingerprint: str
    dim: int
    is_default: bool
    photos: int
    missing: int
    bytes: int


@dataclass(frozen=True, slots=True)
class RemovedModel:
    """A model that was taken out of a library; with it went the tags of so many contents."""

    model: LibraryModel
    tagged: int


@dataclass(frozen=True, slots=True)
class LibraryStatus:
    """What a library holds. Sizes in bytes; `grouped_rows` are those of the store that are grouped.

    Of a collection, `path` is its address, and every photo counts as a content of its own. Of the photos,
    `videos` are videos; their frames are among the embeddings. `model` is the one that answers where none is
    named; `others` stand beside it.
    """

    path: Path | str
    version: int
    roots: tuple[RootStatus, ...]
    photos: int
    contents: int
    embeddings: int
    skipped: int
    model: Model | None
    catalog_bytes: int
    store_bytes: int
    store_rows: int
    grouped_rows: int
    last_run: IndexReport | None
    videos: int = 0
    others: tuple[LibraryModel, ...] = ()


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What one `index` run did. Counts are photos (files) unless said otherwise.

    Attributes:
        started: UTC.
        seconds: Wall clock, all included.
        new: Files whose bytes were never seen before.
        changed: Known files with other bytes than before.
        moved: Files found under a new path, gone from the old one.
        copied: Files whose bytes are already known from another file that is still there.
        removed: Files that are gone; moved ones not counted.
        unchanged: Files as they were.
        skipped: Files that could not be read, in this run.
        still_skipped: Files skipped earlier and unchanged since: not tried again.
        embedded: Contents that went through the model.
        frames: Frames of videos that did, beside the first of each.
        companions: RAW files and movies of Live Photos that belong to the picture beside them.
        missing: Files that were left out because the extra that reads them is not installed, by its name.
        offline: Roots that could not be reached, and in roots empty folders and links to nothing; the
            photos known there were kept.
        unreadable: Folders that could not be listed; their photos were kept.
        interrupted: Stopped early by the user; everything done so far is kept.
    """

    started: datetime
    seconds: float = 0.0
    new: int = 0
    changed: int = 0
    moved: int = 0
    copied: int = 0
    removed: int = 0
    unchanged: int = 0
    skipped: int = 0
    still_skipped: int = 0
    embedded: int = 0
    frames: int = 0
    companions: int = 0
    missing: Mapping[str, int] = field(default_factory=dict)
    offline: tuple[Path, ...] = ()
    unreadable: tuple[Path, ...] = ()
    interrupted: bool = False


@dataclass(frozen=True, slots=True)
class OptimizeReport:
    """What `optimize` did.

    Attributes:
        vectors: Vectors that a search answers from.
        grouped: Those of them in groups now, of which a search reads the nearest only.
        recall: Share of the ten best matches that a search finds, the lowest measured; None where nothing
            was grouped.
        before: Seconds of a search before.
        after: Seconds of a search now.
        seconds: Wall clock of the whole.
    """

    vectors: int
    grouped: int
    recall: float | None
    before: float
    after: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Checked:
    """What `doctor` has looked at: so many things of one kind, each a `page` of the `catalog`."""

    part: str
    count: int
    thing: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What `doctor` has found.

    Attributes:
        part: Of the library, as in `Checked`.
        what: What is wrong, or worth knowing.
        where: File or folder.
        remedy: What to do about it.
        harmless: Nothing is wrong; it is worth knowing.
    """

    part: str
    what: str
    where: Path
    remedy: str
    harmless: bool = False


@dataclass(frozen=True, slots=True)
class Examination:
    """What `doctor` has looked at, and what it has found. `sound` when all of that is harmless."""

    path: Path
    sound: bool
    checked: tuple[Checked, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Repair:
    """What a repair has done, a sentence each, and how the library is now."""

    done: tuple[str, ...]
    now: Examination


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that was made or restored.

    Attributes:
        file: The backup.
        photos: In it.
        vectors: Embeddings in it.
        bytes: Its size.
        replaced: Where the catalog lies now that a restored one has replaced, None where there was none.
    """

    file: Path
    photos: int
    vectors: int
    bytes: int
    replaced: Path | None = None


@dataclass(frozen=True, slots=True)
class DownloadProgress:
    """A moment of a model download. `total` is 0 while unknown. Bytes."""

    file: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class IndexProgress:
    """A moment of an `index` run, for a progress bar.

    Attributes:
        phase: `scan` (total unknown, `done` counts files seen), `load` (the model is being
            fetched or loaded), `embed` (`done` of `total` files), `finish`, `prepare` (`done` of `total`
            generic prompts, once for each model).
        done: Files dealt with in this phase.
        total: Files to deal with, 0 while unknown.
        report: The counts so far.
    """

    phase: Literal["scan", "load", "embed", "finish", "prepare"]
    done: int
    total: int
    report: IndexReport
