"""Results as JSON and CSV have them, on the command line and over HTTP alike."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from clipsearch.predictions import Predictions
    from clipsearch.types import Duplicate, Match, Photo, Prediction

Record = dict[str, object]


def match_record(match: Match) -> Record:
    """One match as it appears in JSON and CSV: numbers to six digits."""
    score = None if match.score is None else round(float(match.score), 6)
    margin = None if match.margin is None else round(match.margin, 6)
    rated = {"rank": match.rank, "score": score, "strength": match.strength, "margin": margin}
    return rated | photo_record(match.photo)


def photo_record(photo: Photo) -> Record:
    """One photo as it appears in JSON and CSV: the date in ISO 8601."""
    facts = photo.metadata
    return {
        "path": str(photo.path),
        "taken": facts.taken and facts.taken.isoformat(),
        "width": photo.width,
        "height": photo.height,
        "size": photo.size,
        "camera": facts.camera,
        "lens": facts.lens,
        "latitude": facts.place and facts.place.latitude,
        "longitude": facts.place and facts.place.longitude,
        "seconds": photo.seconds,
    }


def prediction_record(prediction: Prediction, labels: Sequence[str]) -> Record:
    """One prediction as it appears in JSON and CSV: the best label, then every label."""
    rounded = [round(float(probability), 6) for probability in prediction.probabilities]
    return _prediction(prediction.file, prediction.best, rounded, labels)


def prediction_records(block: Predictions, labels: Sequence[str]) -> Iterator[Record]:
    """As `prediction_record` for each of a block, the numbers rounded together."""
    # The product of a float32 and a million is exact in double precision, so this rounds as Python does.
    rounded = block.probabilities.astype("float64").round(6).tolist()
    for file, best, row in zip(block.files, block.best.tolist(), rounded, strict=True):
        yield _prediction(file, best, row, labels)


def _prediction(file: str, best: int, rounded: Sequence[float], labels: Sequence[str]) -> Record:
    return {
        "path": file,
        "label": labels[best],
        "probability": rounded[best],
        "probabilities": dict(zip(labels, rounded, strict=True)),
    }


def duplicate_record(number: int, one: Duplicate) -> Record:
    """One photo of a group of duplicates as it appears in JSON and CSV."""
    photo = one.photo
    return {
        "group": number,
        "kind": one.kind,
        "score": round(one.score, 6),
        "distance": one.distance,
        "path": str(photo.path),
        "taken": photo.taken and photo.taken.isoformat(),
        "width": photo.width,
        "height": photo.height,
        "size": photo.size,
    }


def plain(value: object) -> object:
    """A dataclass, path or moment in terms of JSON; the `default` of `json.dumps`.

    Raises:
        TypeError: It is something else.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON form")
