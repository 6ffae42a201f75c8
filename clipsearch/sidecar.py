"""XMP sidecars: tags written to a small file beside the photo, where other programs look for them.

Tags are the standard `dc:subject`, a bag of words (ISO 16684-1, section 8.3). What another program has
written stays: every element, attribute, comment and instruction that is no word of ours is kept as it is.
"""

from __future__ import annotations

import errno
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from clipsearch.errors import LibraryWriteError
from clipsearch.new_file import flush_folder, flushed_draft, publish
from clipsearch.types import SidecarReport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from clipsearch.types import TaggedPhoto

_SUFFIX = ".xmp"
_X = "adobe:ns:meta/"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_DC = "http://purl.org/dc/elements/1.1/"
_SUBJECT = f"{{{_DC}}}subject"
_LISTS = [f"{{{_RDF}}}{kind}" for kind in ("Bag", "Seq", "Alt")]
_EMPTY = f"""<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="{_X}" x:xmptk="clipsearch">
 <rdf:RDF xmlns:rdf="{_RDF}">
  <rdf:Description rdf:about="" xmlns:dc="{_DC}"/>
 </rdf:RDF>
</x:xmpmeta>
""".encode()
# The edit history of a photo takes a few hundred kB; what is far above that is no sidecar.
_LARGEST = 32 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT)


class BadSidecarError(Exception):
    """A sidecar that is left alone; says why."""


class Outcome(StrEnum):
    """What became of a sidecar."""

    NEW = "new"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


def sidecar_of(photo: Path) -> Path:
    """The sidecar of a photo: the one that is there, or the one to make.

    `IMG.jpg.xmp`, as darktable and digiKam name it, is never mistaken for another photo's. `IMG.xmp`, as
    Lightroom names it, is taken where it is there and no other file of that name (`IMG.cr3`) may own it.
    """
    own = photo.with_name(photo.name + _SUFFIX)
    if own.exists():
        return own
    short = photo.with_suffix(_SUFFIX)
    if not short.exists() or short == photo:
        return own
    others = {path.name for path in photo.parent.glob(f"{_escaped(photo.stem)}.*")}
    return own if others - {photo.name, short.name} else short


def _escaped(name: str) -> str:
    import glob

    return glob.escape(name)


def merged(data: bytes, tags: Sequence[str]) -> bytes | None:
    """A sidecar with these tags among its words; None when it has them all, in upper or lower case.

    Raises:
        BadSidecarError: It is no XMP, or none that may be changed without risk.
    """
    from lxml import etree

    # No entity is replaced, nothing is fetched, no schema is read; depth and size are bounded.
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        tree = etree.ElementTree(etree.fromstring(data, parser))
    except (etree.XMLSyntaxError, ValueError) as error:
        raise BadSidecarError(f"no XML ({error})") from error
    if tree.docinfo.internalDTD is not None:
        raise BadSidecarError("it declares a document type, which XMP never does")
    bag = _bag(tree.getroot())
    known = {(item.text or "").strip().casefold() for item in bag}
    missing = [tag for tag in tags if tag.casefold() not in known]
    if not missing:
        return None
    _append(bag, missing)
    # Without zero bytes UTF-16 reads like ASCII here.
    declared = b"<?xml " in data[:40].replace(b"\0", b"")
    written: bytes = etree.tostring(tree, encoding=tree.docinfo.encoding or "UTF-8", xml_declaration=declared)
    return written


def _bag(root: Any) -> Any:
    """The list of words of a sidecar, made where there is none.

    Raises:
        BadSidecarError: There is no place for it.
    """
    from lxml import etree

    if root.tag == f"{{{_RDF}}}RDF":
        rdf = root
    else:
        rdf = root.find(f"{{{_RDF}}}RDF") if root.tag == f"{{{_X}}}xmpmeta" else None
    if rdf is None:
        raise BadSidecarError("XML, but no XMP")
    descriptions = rdf.findall(f"{{{_RDF}}}Description")
    subjects = [subject for one in descriptions for subject in one.findall(_SUBJECT)]
    if len(subjects) > 1 or any(_SUBJECT in one.attrib for one in descriptions):
        raise BadSidecarError("its dc:subject is not what XMP says it is")
    if subjects:
        lists = [child for child in subjects[0] if child.tag in _LISTS]
        if len(lists) != 1 or (subjects[0].text or "").strip():
            raise BadSidecarError("its dc:subject is no list")
        return lists[0]
    if not descriptions:
        descriptions = [etree.SubElement(rdf, f"{{{_RDF}}}Description", {f"{{{_RDF}}}about": ""})]
    home = descriptions[0]
    subject = etree.SubElement(home, _SUBJECT, nsmap=None if _DC in home.nsmap.values() else {"dc": _DC})
    return etree.SubElement(subject, f"{{{_RDF}}}Bag")


def _append(bag: Any, words: Sequence[str]) -> None:
    from lxml import etree

    for word in words:
        item = etree.SubElement(bag, f"{{{_RDF}}}li")
        item.text = word
    # Written on one line a word where that changes nothing else.
    if len(bag) == len(words):
        etree.indent(bag.getparent(), space=" ", level=3)


def write(photo: Path, tags: Sequence[str], *, dry_run: bool = False) -> Outcome:
    """Bring a photo's sidecar to have these tags, in one step: killed anywhere, it is the old or the new.

    Raises:
        BadSidecarError: It is left alone.
        OSError: It cannot be read or written.
    """
    path = sidecar_of(photo)
    if path.is_symlink():
        path = path.resolve()
    before = _identity(path)
    if before is not None and before[0] > _LARGEST:
        raise BadSidecarError("too large for a sidecar")
    data = merged(_EMPTY if before is None else path.read_bytes(), tags)
    if data is None:
        return Outcome.UNCHANGED
    outcome = Outcome.NEW if before is None else Outcome.CHANGED
    if not dry_run:
        _replace(path, data, before)
    return outcome


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino


def _replace(path: Path, data: bytes, before: tuple[int, int, int] | None) -> None:
    with flushed_draft(path, data) as draft:
        if before is not None:
            draft.chmod(path.stat().st_mode & 0o7777)
        if _identity(path) != before:
            raise BadSidecarError("another program has just changed it")
        if before is not None:
            draft.replace(path)
            flush_folder(path.parent)
            return
        try:
            publish(draft, path)
        except FileExistsError:
            raise BadSidecarError("another program has just made it") from None


def write_all(
    tagged: Iterable[TaggedPhoto],
    *,
    dry_run: bool,
    tell: Callable[[str], None],
    progress: Callable[[int], None],
) -> SidecarReport:
    """Bring the sidecars of photos to have their tags, with a word about each that is left alone.

    Raises:
        LibraryWriteError: The disk is full; what is written so far stays.
    """
    counts = dict.fromkeys(Outcome, 0)
    left_alone = 0
    for done, photo in enumerate(tagged):
        progress(done)
        try:
            counts[write(photo.path, photo.tags, dry_run=dry_run)] += 1
        except BadSidecarError as error:
            left_alone += 1
            tell(f"left alone: {sidecar_of(photo.path)}: {error}")
        except OSError as error:
            if error.errno in _FULL:
                raise LibraryWriteError(
                    f"the disk is full: {photo.path.parent}",
                    "free some space and run the command again; what is written stays",
                ) from error
            left_alone += 1
            tell(f"no sidecar for {photo.path}: {(error.strerror or str(error)).lower()}")
    return SidecarReport(counts[Outcome.NEW], counts[Outcome.CHANGED], counts[Outcome.UNCHANGED], left_alone)
