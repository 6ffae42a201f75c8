"""URLs where paths are expected: photos in object storage have no other name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Self

# RFC 3986, 3.1; a single letter is a drive of Windows. A `Path` has left one slash out.
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/{1,2}(?=[^/])")


class UrlPath(type(Path())):  # type: ignore[misc] # the class of this system's paths
    """A path that is spelled as the URL that it was made of, both slashes included."""

    _url: str

    def __new__(cls, *parts: str) -> Self:
        """Of one URL; of parts only where `pathlib` itself makes one."""
        made: Self = super().__new__(cls, *parts)
        if len(parts) == 1:
            made._url = parts[0]
        return made

    def __str__(self) -> str:
        """The URL."""
        try:
            return self._url
        except AttributeError:  # a parent of one, say
            return _URL.sub(r"\1://", super().__str__())


def url_path(text: str) -> UrlPath | None:
    """The URL that a text is, or was before a `Path` was made of it; None where it is another path."""
    match = _URL.match(text)
    return None if match is None else UrlPath(f"{match[1]}://{text[match.end() :]}")
