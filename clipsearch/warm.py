"""Asking a library that a server holds open, through a socket in the library's folder.

The server has Python, numpy, FAISS, the model and the vectors in memory, so an answer takes as long as the
question; without it, or whenever anything about it is not as it should be, the library is opened here. This
module imports nothing heavy. `clipsearch.web.warm` is the other side.

Each side says one line of JSON: the client `{"version", "folder", "question"}`, where `folder` is device and
inode of the library's folder as the client sees it; the server `{"notices", "matches"}` or `{"notices",
"error"}`, and empty lines before that, as a sign of life. Or it hangs up, and the client helps itself. Both
see to it that the other is the same user's.
"""

from __future__ import annotations

import json
import os
import stat
import struct
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from clipsearch import __version__, errors
from clipsearch.address import Address
from clipsearch.matches import Filters
from clipsearch.questions import Question, match_of
from clipsearch.terms import picture_term, terms_of

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from clipsearch.matches import Listeners, Match, Term

SOCKET_NAME = "serve.sock"
OFF = "CLIPSEARCH_COLD"
"""Set to anything, this environment variable makes every command open the library itself."""
PATIENCE_S = 1.0
"""After so long without a sign of life, a server is not waited for any more."""
# The name's room in `sockaddr_un`, less its final zero: 108 bytes on Linux, 104 on BSD and macOS.
_ROOM = (108 if sys.platform == "linux" else 104) - 1
_HERE = ("/dev/", "/proc/")  # what lies there is another thing in another process
_ALL = Filters()


class WarmLibrary:
    """Answers as `Library` does; from a server where one runs for this library.

    Args:
        place: The library's folder; or its collection, which is on a server anyway.
        listeners: Told what the library tells.
        model: See `Library`. A server answers with the default one only, so that none is asked otherwise.
    """

    def __init__(self, place: Path | Address, listeners: Listeners, model: str | None = None) -> None:
        self._place = place
        self._listeners = listeners
        self._model = model

    def search(
        self,
        text: str = "",
        *,
        add: Sequence[str] = (),
        subtract: Sequence[str] = (),
        limit: int = 10,
        filters: Filters = _ALL,
        min_score: float | None = None,
        only_matches: bool = False,
        blend: float = 0.0,
    ) -> list[Match]:
        """See `Library.search`."""
        terms = terms_of([text] if text or not (add or subtract) else [])
        terms += terms_of(add, subtract)
        return self._answer(
            Question("search", tuple(terms), limit, filters, min_score, only_matches, blend=blend)
        )

    def newest(self, filters: Filters = _ALL, *, limit: int = 10) -> list[Match]:
        """See `Library.newest`."""
        return self._answer(Question("newest", (), limit, filters))

    def similar(
        self,
        image: str,
        *,
        add: Sequence[str] = (),
        subtract: Sequence[str] = (),
        limit: int = 10,
        filters: Filters = _ALL,
        min_score: float | None = None,
        only_matches: bool = False,
        include_self: bool = False,
    ) -> list[Match]:
        """See `Library.similar`."""
        terms = (picture_term(image), *terms_of(add, subtract))
        return self._answer(Question("similar", terms, limit, filters, min_score, only_matches, include_self))

    def _answer(self, question: Question) -> list[Match]:
        place = self._place
        may_ask = not os.environ.get(OFF) and all(map(_is_the_same_there, question.terms))
        if may_ask and self._model is None and not isinstance(place, Address):
            answer = ask(place, question)
            if answer is not None:
                return self._read(answer)
        from clipsearch.library import Library

        with Library(place, listeners=self._listeners, model=self._model) as library:
            return question.put_to(library)

    def _read(self, answer: dict[str, Any]) -> list[Match]:
        for sentence in answer["notices"]:
            self._listeners.tell(sentence)
        if "error" in answer:
            kind, message, hint = answer["error"]
            raise getattr(errors, kind)(message, hint)
        return [match_of(match) for match in answer["matches"]]


def _is_the_same_there(term: Term) -> bool:
    return term.kind != "image" or not term.value.startswith(_HERE)


def ask(folder: Path, question: Question) -> dict[str, Any] | None:
    """What a server answers; None where there is none that does."""
    try:
        if not _is_own_socket(folder):
            return None
        import socket

        with socket.socket(socket.AF_UNIX) as connection, address(folder) as name:
            connection.settimeout(PATIENCE_S)
            connection.connect(name)
            if not is_own(connection):
                return None
            asked = {"version": __version__, "folder": identity(folder), "question": question.plain()}
            connection.sendall(json.dumps(asked).encode("ascii") + b"\n")
            with connection.makefile("rb") as lines:
                said = next((line for line in lines if line.strip()), b"")
        answer: dict[str, Any] | None = json.loads(said) if said.endswith(b"\n") else None
    except (OSError, ValueError):
        return None
    return answer


@contextmanager
def address(folder: Path) -> Iterator[bytes]:
    """The socket's name, for `bind` and `connect`; through an open folder where it would be too long.

    Raises:
        OSError: There is no such folder, or no such way on this system.
    """
    name = os.fsencode(folder / SOCKET_NAME)
    if len(name) <= _ROOM:
        yield name
        return
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{opened}/{SOCKET_NAME}".encode()
    finally:
        os.close(opened)


def identity(folder: Path) -> list[int]:
    """Device and inode of a folder.

    Raises:
        OSError: There is none.
    """
    facts = folder.stat()
    return [facts.st_dev, facts.st_ino]


def _is_own_socket(folder: Path) -> bool:
    """Whether a socket is there, no link to one, that this user has made."""
    facts = (folder / SOCKET_NAME).lstat()  # Windows knows no sockets in files
    return stat.S_ISSOCK(facts.st_mode) and facts.st_uid == os.geteuid()


def is_own(connection: socket.socket) -> bool:
    """Whether the process at the other end is this user's, and sees the same files as far as that is known.

    Raises:
        OSError: The connection is gone.
    """
    import socket

    if sys.platform == "linux":
        form = struct.Struct("iII")  # struct ucred: process, user, group
        told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, form.size)
        process, user, _ = form.unpack(told)
        # A process in a container that cannot be seen from here has no number.
        return bool(process and user == os.geteuid())
    if sys.platform == "darwin":
        # <sys/un.h>, <sys/ucred.h>: SOL_LOCAL, LOCAL_PEERCRED, and the head of struct xucred: version, user.
        _, user = struct.unpack_from("II", connection.getsockopt(0, 1, 76))
        return bool(user == os.geteuid())
    return True  # the socket's own permissions have to do
