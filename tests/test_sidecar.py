"""XMP sidecars: what is in them stays, whatever it is."""

from __future__ import annotations

import errno
import os
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from clipsearch.sidecar import BadSidecarError, Outcome, merged, sidecar_of, write, write_all
from clipsearch.types import TaggedPhoto

if TYPE_CHECKING:
    from pathlib import Path

DARKTABLE = """<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <!-- a comment -->
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:darktable="http://darktable.sf.net/"
    xmlns:elements="http://purl.org/dc/elements/1.1/"
   xmp:Rating="4"
   darktable:history_end="2">
   <elements:subject>
    <rdf:Bag>
     <rdf:li>Oma &amp; Opa</rdf:li>
    </rdf:Bag>
   </elements:subject>
   <darktable:history>
    <rdf:Seq>
     <rdf:li darktable:operation="exposure" darktable:params="gz02eJxjYGBg"/>
    </rdf:Seq>
   </darktable:history>
   <future:thing xmlns:future="urn:not-yet"><![CDATA[<kept>]]></future:thing>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""
PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Label="Red"/>'
    '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)
WORDS = "{http://purl.org/dc/elements/1.1/}subject/{*}Bag/{*}li"


def words(data: bytes) -> list[str]:
    return [item.text or "" for item in ET.fromstring(data).findall(f".//{WORDS}")]  # noqa: S314 - ours


def rest(data: bytes) -> list[str]:
    """Everything but the words: tags, attributes, comments, instructions, in order."""
    tree = etree.ElementTree(etree.fromstring(data, etree.XMLParser(remove_blank_text=True)))
    for item in tree.findall(f".//{WORDS}"):
        item.getparent().remove(item)
    return etree.tostring(tree, method="c14n", with_comments=True).decode().split()


def test_what_another_program_has_written_stays() -> None:
    after = merged(DARKTABLE.encode(), ["beach", "oma & opa"])
    assert after is not None
    assert words(after) == ["Oma & Opa", "beach"]
    assert rest(after) == rest(DARKTABLE.encode())
    assert b"elements:subject" in after
    assert b"<!-- a comment -->" in after
    assert after.startswith(b"<?xml")


def test_a_packet_without_words_gets_them_and_keeps_its_wrapper() -> None:
    after = merged(PACKET.encode(), ["beach"])
    assert after is not None
    assert words(after) == ["beach"]
    assert b'xmp:Label="Red"' in after
    assert after.count(b"<?xpacket") == 2
    assert not after.startswith(b"<?xml")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_any_encoding_of_xml_is_read(encoding: str) -> None:
    text = DARKTABLE.replace("UTF-8", "UTF-16" if encoding == "utf-16" else "UTF-8")
    after = merged(text.encode(encoding), ["bäcker"])
    assert after is not None
    assert words(after) == ["Oma & Opa", "bäcker"]


@given(st.lists(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1), min_size=1, max_size=5))
def test_any_words_come_back_and_a_second_time_changes_nothing(tags: list[str]) -> None:
    once = merged(DARKTABLE.encode(), tags)
    if once is not None:
        assert {tag.casefold() for tag in tags} <= {word.strip().casefold() for word in words(once)}
        assert rest(once) == rest(DARKTABLE.encode())
        assert merged(once, tags) is None


RDF = '<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:dc="http://purl.org/dc/elements/1.1/">'
BROKEN = {
    "torn": DARKTABLE[:400],
    "empty": "",
    "no xmp": "<html/>",
    "a bomb": '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>' + RDF + "<r:Description/></r:RDF>",
    "a file's entity": '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>',
    "words without a list": RDF + "<r:Description><dc:subject>beach</dc:subject></r:Description></r:RDF>",
    "words as an attribute": RDF + '<r:Description dc:subject="beach"/></r:RDF>',
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_a_broken_sidecar_is_left_alone_with_a_word(tmp_path: Path, text: str) -> None:
    photo, sidecar = tmp_path / "a.jpg", tmp_path / "a.jpg.xmp"
    sidecar.write_text(text)
    said: list[str] = []
    done = write_all(
        [TaggedPhoto(photo, ("sea",))], dry_run=False, tell=said.append, progress=lambda _done: None
    )
    assert done.left_alone == 1
    assert sidecar.read_text() == text
    assert len(said) == 1
    assert str(sidecar) in said[0]
    assert "\n" not in said[0]
    assert list(tmp_path.iterdir()) == [sidecar]


def test_sidecars_are_found_under_both_names(tmp_path: Path) -> None:
    photo = tmp_path / "IMG [1].jpg"
    photo.touch()
    assert sidecar_of(photo).name == "IMG [1].jpg.xmp"
    (tmp_path / "IMG [1].xmp").touch()
    assert sidecar_of(photo).name == "IMG [1].xmp"
    (tmp_path / "IMG [1].cr3").touch()  # whose sidecar that may be
    assert sidecar_of(photo).name == "IMG [1].jpg.xmp"


def test_a_sidecar_keeps_its_mode_and_a_link_stays_a_link(tmp_path: Path) -> None:
    photo, real = tmp_path / "a.jpg", tmp_path / "real.xmp"
    real.write_text(DARKTABLE)
    real.chmod(0o640)
    (tmp_path / "a.jpg.xmp").symlink_to(real)
    assert write(photo, ["sea"], dry_run=True) is Outcome.CHANGED
    assert real.read_text() == DARKTABLE
    assert write(photo, ["sea"]) is Outcome.CHANGED
    assert write(photo, ["Sea"]) is Outcome.UNCHANGED
    assert (tmp_path / "a.jpg.xmp").is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert words(real.read_bytes()) == ["Oma & Opa", "sea"]


def test_a_new_sidecar_is_made_for_any_name(tmp_path: Path) -> None:
    photo = tmp_path / os.fsdecode("zwölf 🐕\n".encode() + b"\xff.jpg")
    assert write(photo, ["sea", "boat"]) is Outcome.NEW
    assert words(photo.with_name(f"{photo.name}.xmp").read_bytes()) == ["sea", "boat"]
    with pytest.raises(OSError, match="too long"):
        write(tmp_path / ("x" * 253), ["sea"])


def test_a_sidecar_that_no_longer_parses_names_the_reason() -> None:
    with pytest.raises(BadSidecarError, match="no XML"):
        merged(b"\x00\x01", ["sea"])


def test_a_sidecar_made_meanwhile_stays_on_a_disk_without_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "a.jpg.xmp"

    def link(*_: object) -> None:  # as FAT does, just when another program has written
        other.write_text(DARKTABLE)
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(BadSidecarError, match="just made it"):
        write(tmp_path / "a.jpg", ["cat"])
    assert other.read_text() == DARKTABLE
    assert list(tmp_path.iterdir()) == [other]
