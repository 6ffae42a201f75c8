"""Labels as typed or as kept in a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsearch.cli.terminal import shown
from clipsearch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def parse_labels(typed: Sequence[str] = (), file: Path | None = None) -> list[str]:
    """Labels in the order given: those between the commas of `typed`, then one a line of `file`.

    Space around a label and empty labels are dropped.

    Raises:
        UsageError: No label is left, one comes twice, or the file cannot be read.
    """
    found = [label for words in typed for label in words.split(",")]
    if file is not None:
        found += _read(file).splitlines()
    labels = [label.strip() for label in found if label.strip()]
    if not labels:
        raise UsageError("there are no labels", "give some: --labels cat,dog or --labels-file FILE")
    seen: set[str] = set()
    for label in labels:
        if label in seen:
            raise UsageError(f"the label {label!r} is given twice", "name each label once")
        seen.add(label)
    return labels


def _read(file: Path) -> str:
    try:
        return file.expanduser().read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read the labels in {shown(file)}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"the labels in {shown(file)} are not UTF-8 text") from error
