"""Patterns of file names, as users type them."""

from __future__ import annotations

import fnmatch
import unicodedata


def composed(text: str) -> str:
    """Text with an umlaut as one code point, as keyboards give it; macOS may list it as two."""
    return unicodedata.normalize("NFC", text)


def translate(glob: str) -> str:
    """The regular expression of a pattern, for `composed` names; a slash at its end does not count."""
    return fnmatch.translate(composed(glob.rstrip("/")))
