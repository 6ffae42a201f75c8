"""The values that pass between the parts: plain frozen dataclasses, no behaviour, no heavy imports."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

ResizeMode = Literal["shortest", "longest", "squash"]
Shape = Literal["landscape", "portrait", "square"]
Strength = Literal["strong", "fair", "weak"]


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


NEAR_KM = 10.0
"""How near to a place is near, where nothing else is said."""


class Place(NamedTuple):
    """A point on the earth, in degrees (WGS 84): north and east are positive."""

    latitude: float
    longitude: float


@dataclass(frozen=True, slots=True)
class Metadata:
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
    metadata: Metadata = Metadata()
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
class Prediction:
    """Zero-shot classification of one photo.

    Attributes:
        file: Absolute path of the photo; a million `Path` objects would take seconds to make.
        probabilities: One for each label, in the order the labels were given. They sum to 1 for
            softmax models; each stands alone for sigmoid models.
        best: Position of the most probable label, the first of equals.
    """

    file: str
    probabilities: tuple[float, ...]
    best: int

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

    def __bool__(self) -> bool:
        return self != Filters(within=self.within)


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
class LibraryStatus:
    """What a library holds. Sizes in bytes; `grouped_rows` are those of the store that are grouped.

    Of the photos, `videos` are videos; their frames are among the embeddings.
    """

    path: Path
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


@dataclass(frozen=True, slots=True)
class DownloadProgress:
    """A moment of a model download. `total` is 0 while unknown. Bytes."""

    file: str
    done: int
    total: int


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
