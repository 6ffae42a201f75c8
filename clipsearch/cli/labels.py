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
    from clipsearch.zeroshot import check_labels

    return list(check_labels([label for label in found if label.strip()]))


def _read(file: Path) -> str:
    try:
        return file.expanduser().read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read the labels in {shown(file)}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"the labels in {shown(file)} are not UTF-8 text") from error
