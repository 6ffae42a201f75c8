"""`clipsearch duplicates`, on real photos, their copies, and what only looks like copies."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from clipsearch import likenesses
from clipsearch.cli import main
from clipsearch.cli.progress import Reporter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Capture = pytest.CaptureFixture[bytes]
    Change = Callable[[Image.Image], Image.Image]

BASES = 24
AWKWARD = [b"two\nlines.jpg", b"latin-\xe9.jpg", "grüße 👨‍👩‍👧 .jpg".encode()]
EXIF_DATE, EXIF_MODEL, EXIF_TURN, EXIF_IFD = 0x9003, 0x0110, 0x0112, 0x8769


def cropped(image: Image.Image, part: float) -> Image.Image:
    across, down = round(part * image.width), round(part * image.height)
    return image.crop((across, down, image.width - across, image.height - down))


CHANGES: dict[str, Change] = {
    "half": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS),
    "recompressed": lambda image: image,
    "cropped": lambda image: cropped(image, 0.02),
    "turned": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
}


@dataclass(frozen=True)
class Made:
    """A library with duplicates of every kind: `CHANGE/NAME.jpg` is a copy of `as-it-is/NAME.jpg`."""

    home: Path

    @property
    def photos(self) -> Path:
        return self.home / "photos"

    @property
    def library(self) -> Path:
        return self.home / "library"


def save(image: Image.Image, path: Path, *, quality: int = 90, **exif: int | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    written = Image.Exif()
    for name, value in exif.items():
        if name == "taken":
            written.get_ifd(EXIF_IFD)[EXIF_DATE] = value
        else:
            written[{"camera": EXIF_MODEL, "turn": EXIF_TURN}[name]] = value
    image.save(path, quality=quality, exif=written)


def fill(folder: Path, shared: Path) -> None:
    """Every change of some photos, each with another photo of the same class beside it."""
    lines = (shared / "labels.tsv").read_text().splitlines()[1:]
    labels = [line.split("\t")[:2] for line in lines if line.startswith("caltech101")]
    by_class: dict[str, list[str]] = {}
    for file, label in labels:
        by_class.setdefault(label, []).append(file)
    for label in sorted(by_class)[: 4 * BASES : 4]:
        original, other, *_ = by_class[label]
        image = Image.open(shared / original).convert("RGB")
        name = Path(original).stem
        (folder / "as-it-is").mkdir(parents=True, exist_ok=True)
        for file in (original, other):
            shutil.copy(shared / file, folder / "as-it-is")
        for change, apply in CHANGES.items():
            turn = {"turn": 6} if change == "turned" else {}
            quality = 35 if change == "recompressed" else 70
            save(apply(image), folder / change / f"{name}.jpg", quality=quality, **turn)
    random = np.random.default_rng(0)
    for number in range(4):
        black = Image.fromarray(random.poisson(2, (120, 160, 3)).astype(np.uint8))
        save(black, folder / "uniform" / f"black-{number}.jpg")
        white = np.full((160, 120, 3), 250) - random.integers(4, size=(160, 120, 1))
        save(Image.fromarray(white.astype(np.uint8)), folder / "uniform" / f"white-{number}.jpg")
    shutil.copy(folder / "uniform" / "black-0.jpg", folder / "uniform" / "copy of black-0.jpg")
    scene = Image.open(shared / by_class["Leopards"][0]).convert("RGB").resize((300, 200))
    for second, camera in ((0, "A1"), (2, "A1"), (4, "A1"), (9, "A1"), (1, "B2")):
        shot = scene.crop((6 * second, 3 * second, 240 + 6 * second, 160 + 3 * second))
        moment = f"2024:05:01 12:00:0{second}"
        save(shot, folder / "bursts" / f"{camera}-{second}.jpg", camera=camera, taken=moment)
    awkward = folder / "awkward"
    awkward.mkdir()
    for name in AWKWARD:
        shutil.copy(shared / by_class["Leopards"][1], os.fsencode(awkward) + b"/" + name)
    first = next((folder / "as-it-is").iterdir())
    (folder / "linked.jpg").symlink_to(first)
    os.link(first, folder / "hard-linked.jpg")


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, shared_photos: Path, builtin_cache: Path
) -> Iterator[Made]:
    found = Made(tmp_path_factory.mktemp("duplicates"))
    fill(found.photos, shared_photos)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPSEARCH_CACHE", str(builtin_cache))
        assert main(["index", str(found.photos), "--library", str(found.library), "--model", "builtin"]) == 0
        yield found


@pytest.fixture
def own(made: Made, tmp_path: Path) -> Made:
    """A copy that a test may change, none of its pictures looked at yet."""
    shutil.copytree(made.home, tmp_path / "own", symlinks=True)
    found = Made(tmp_path / "own")
    linked = found.photos / "linked.jpg"
    target = found.photos / linked.readlink().relative_to(made.photos)
    for name in ("linked.jpg", "hard-linked.jpg"):
        (found.photos / name).unlink()
    linked.symlink_to(target)
    os.link(target, found.photos / "hard-linked.jpg")
    arguments = ["relocate", str(made.photos), str(found.photos), "--library", str(found.library)]
    assert main(arguments) == 0
    with closing(sqlite3.connect(found.library / "catalog.sqlite")) as connection, connection:
        connection.execute("DELETE FROM likeness")
    return found


def run(made: Made, capture: Capture, *arguments: str, code: int = 0) -> bytes:
    capture.readouterr()
    given = ["duplicates", *arguments, "--library", str(made.library)]
    assert main(given) == code, capture.readouterr().err.decode()
    return capture.readouterr().out


def said(made: Made, capture: Capture, *arguments: str, code: int = 0) -> str:
    """As `run`, for what is said beside the result."""
    capture.readouterr()
    assert main(["duplicates", *arguments, "--library", str(made.library)]) == code
    return capture.readouterr().err.decode()


def groups(made: Made, capture: Capture, *arguments: str) -> list[list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = {}
    for record in json.loads(run(made, capture, *arguments, "--format", "json")):
        found.setdefault(record["group"], []).append(record)
    return list(found.values())


def names(made: Made, group: list[dict[str, Any]]) -> list[str]:
    return [os.path.relpath(record["path"], made.photos) for record in group]


def remembered(made: Made) -> int:
    with closing(sqlite3.connect(made.library / "catalog.sqlite")) as connection:
        return int(connection.execute("SELECT count(*) FROM likeness").fetchone()[0])


def all_bytes(*folders: Path) -> Counter[bytes]:
    return Counter(
        path.read_bytes()
        for path in chain(*(folder.rglob("*") for folder in folders))
        if path.is_file() and not path.is_symlink()
    )


def test_copies_of_a_photo_are_found_and_others_of_its_kind_are_not(
    made: Made, capsysbinary: Capture
) -> None:
    found = [names(made, group) for group in groups(made, capsysbinary, "--similar")]
    ours = [
        [Path(name) for name in group if Path(name).parts[0] in {"as-it-is", *CHANGES}] for group in found
    ]
    # No group holds two photos that are different; each is told by its name.
    assert [group for group in ours if len({path.stem for path in group}) > 1] == []
    kinds = Counter(path.parts[0] for group in ours for path in group)
    assert sum(kinds[change] for change in CHANGES) >= 0.97 * BASES * len(CHANGES), kinds


def test_the_best_of_a_group_has_most_pixels_and_none_is_in_two(made: Made, capsysbinary: Capture) -> None:
    found = groups(made, capsysbinary)
    for group in found:
        assert [record["kind"] == "best" for record in group] == [True] + [False] * (len(group) - 1)
        pixels = [record["width"] * record["height"] for record in group]
        assert pixels[0] == max(pixels)
    paths = [record["path"] for group in found for record in group]
    assert len(paths) == len(set(paths))
    room = [sum(record["size"] for record in group[1:]) for group in found]
    assert room == sorted(room, reverse=True)


def test_a_worse_copy_of_the_same_size_is_rarely_the_best(made: Made, capsysbinary: Capture) -> None:
    best = Counter(Path(names(made, group)[0]).parts[0] for group in groups(made, capsysbinary))
    assert best["recompressed"] <= 2
    assert best["as-it-is"] >= BASES // 2, best


def test_exact_copies_need_no_closer_look(own: Made, capsysbinary: Capture) -> None:
    found = [set(names(own, group)) for group in groups(own, capsysbinary, "--exact")]
    awkward = {os.path.join("awkward", os.fsdecode(name)) for name in AWKWARD}  # noqa: PTH118 - as it is written
    assert sorted(found, key=len) == [{"uniform/black-0.jpg", "uniform/copy of black-0.jpg"}, awkward]
    assert remembered(own) == 0


def test_links_to_a_photo_are_no_copies_of_it(made: Made, capsysbinary: Capture) -> None:
    linked = {"linked.jpg", "hard-linked.jpg"}
    for group in groups(made, capsysbinary):
        assert len(linked.intersection(names(made, group))) <= 1
    target = (made.photos / "linked.jpg").resolve()
    same = [
        group for group in groups(made, capsysbinary) for record in group if record["path"] == str(target)
    ]
    assert all(linked.isdisjoint(names(made, group)) for group in same)


def test_pictures_of_one_shade_are_no_duplicates_unless_exact(made: Made, capsysbinary: Capture) -> None:
    uniform = [
        name
        for group in groups(made, capsysbinary, "--exact", "--similar", "--bursts")
        for name in names(made, group)
        if name.startswith("uniform")
    ]
    assert sorted(uniform) == ["uniform/black-0.jpg", "uniform/copy of black-0.jpg"]


def test_bursts_are_of_one_camera_within_seconds(made: Made, capsysbinary: Capture) -> None:
    (group,) = groups(made, capsysbinary, "--bursts")
    assert sorted(names(made, group)) == ["bursts/A1-0.jpg", "bursts/A1-2.jpg", "bursts/A1-4.jpg"]
    (longer,) = groups(made, capsysbinary, "--bursts", "--gap", "5")
    assert sorted(names(made, longer)) == sorted([*names(made, group), "bursts/A1-9.jpg"])
    run(made, capsysbinary, "--bursts", "--gap", "1", code=1)


def test_a_second_run_looks_at_no_picture_again(
    own: Made, capsysbinary: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = groups(own, capsysbinary)
    assert remembered(own) > BASES

    def refuse(*_: object) -> None:
        raise AssertionError("looked again")

    monkeypatch.setattr(likenesses, "_look", refuse)
    assert groups(own, capsysbinary) == first


def test_every_format_says_the_same_and_paths_leave_the_best_out(made: Made, capsysbinary: Capture) -> None:
    wanted = groups(made, capsysbinary)
    flat = [record for group in wanted for record in group]
    lines = run(made, capsysbinary, "--format", "jsonl").splitlines()
    assert [json.loads(line) for line in lines] == flat
    text = run(made, capsysbinary, "--format", "csv").decode(errors="surrogateescape")
    assert [row["path"] for row in csv.DictReader(io.StringIO(text))] == [record["path"] for record in flat]
    others = [os.fsencode(record["path"]) for record in flat if record["kind"] != "best"]
    assert run(made, capsysbinary, "-0").split(b"\0")[:-1] == others
    assert run(made, capsysbinary, "--format", "paths") == b"\n".join(others) + b"\n"
    table = run(made, capsysbinary, "--limit", "1").decode().splitlines()
    assert [line.split("\t")[-1] for line in table] == [record["path"] for record in wanted[0]]


def test_filters_say_what_is_compared(made: Made, capsysbinary: Capture) -> None:
    assert groups(made, capsysbinary, "--in", str(made.photos / "awkward"))
    run(made, capsysbinary, "--in", str(made.photos / "half"), code=1)
    run(made, capsysbinary, "--camera", "nobody's", code=1)


def test_links_are_made_a_folder_a_group(made: Made, tmp_path: Path, capsysbinary: Capture) -> None:
    wanted = groups(made, capsysbinary)
    look, photos = tmp_path / "look", sum(map(len, wanted))
    told = said(made, capsysbinary, "--link-to", str(look), "--dry-run")
    assert told.endswith(f"\n{photos} photos would be linked into {look}\n")
    assert not look.exists()
    told = said(made, capsysbinary, "--link-to", str(look))
    assert told.endswith(f"\n{photos} photos linked into {look}\n")
    told = said(made, capsysbinary, "--link-to", str(look))
    assert told.endswith(f"\n0 photos linked into {look}; {photos} there already\n")
    folders = sorted((tmp_path / "look").iterdir())
    assert len(folders) == len(wanted)
    for folder, group in zip(folders, wanted, strict=True):
        links = sorted(folder.iterdir(), key=lambda path: int(path.name.split()[0]))
        assert [str(path.readlink()) for path in links] == [record["path"] for record in group]


def test_all_but_the_best_are_moved_and_the_library_knows(
    own: Made, tmp_path: Path, capsysbinary: Capture
) -> None:
    wanted = groups(own, capsysbinary)
    before = all_bytes(own.photos)
    away = tmp_path / "away"
    taken = away / "photos" / names(own, wanted[0])[1]
    taken.parent.mkdir(parents=True)
    taken.write_bytes(b"mine")
    plan = run(own, capsysbinary, "--move-to", str(away), "--dry-run", "--format", "jsonl").splitlines()
    assert all_bytes(own.photos) == before
    told = said(own, capsysbinary, "--move-to", str(away), "--yes")
    assert told.endswith(f"\n{len(plan)} photos moved into {away}\n")
    assert taken.read_bytes() == b"mine"
    assert all_bytes(own.photos, away) == before + Counter([b"mine"])
    for line in map(json.loads, plan):
        assert not os.path.lexists(line["path"])
        assert Path(line["target"]).is_file()
    for group in wanted:
        assert Path(group[0]["path"]).is_file()
    run(own, capsysbinary, code=1)  # no duplicates are left, and none that is gone is listed
    assert main(["index", "--library", str(own.library)]) == 0
    assert b"removed" not in capsysbinary.readouterr().out


def test_nothing_is_moved_unasked_nor_into_the_library(
    own: Made, tmp_path: Path, capsysbinary: Capture
) -> None:
    before = all_bytes(own.photos)
    run(own, capsysbinary, "--move-to", str(tmp_path / "away"), code=2)
    for folder in (own.photos / "away", own.photos, own.home):
        run(own, capsysbinary, "--move-to", str(folder), "--yes", code=2)
        run(own, capsysbinary, "--link-to", str(folder), code=2)
    run(own, capsysbinary, "--move-to", str(tmp_path / "x"), "--link-to", str(tmp_path / "y"), code=2)
    run(own, capsysbinary, "--dry-run", code=2)
    assert all_bytes(own.photos) == before


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_it_asks_before_it_moves(
    own: Made, tmp_path: Path, capsysbinary: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = all_bytes(own.photos)
    away = tmp_path / "away"
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    run(own, capsysbinary, "--exact", "--move-to", str(away))
    assert all_bytes(own.photos) == before
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    run(own, capsysbinary, "--exact", "--move-to", str(away))
    assert sum(all_bytes(away).values()) == 3
    assert all_bytes(own.photos, away) == before


def test_a_photo_that_has_changed_meanwhile_stays(own: Made, tmp_path: Path, capsysbinary: Capture) -> None:
    wanted = groups(own, capsysbinary)
    changed = Path(wanted[0][1]["path"])
    changed.write_bytes(changed.read_bytes() + b"edited")
    best = Path(wanted[1][0]["path"])
    best.write_bytes(b"edited")
    told = said(own, capsysbinary, "--move-to", str(tmp_path / "away"), "--yes", code=2)
    assert f"not moved: {changed} (it has changed)" in told
    assert f"(the best of its group, {best}: it has changed)" in told
    others = sum(len(group) - 1 for group in wanted)
    failed = len(wanted[1])  # its others, and the one that has changed
    assert (
        f"{others - failed} photos moved into {tmp_path / 'away'}\nerror: {failed} of {others} photos" in told
    )
    assert changed.is_file()
    assert all(Path(record["path"]).is_file() for record in wanted[1])


@pytest.mark.parametrize("title", ["looking closely", "moving"])
def test_ctrl_c_keeps_what_is_done(
    own: Made, tmp_path: Path, capsysbinary: Capture, monkeypatch: pytest.MonkeyPatch, title: str
) -> None:
    work = Reporter.work

    def interrupt(reporter: Reporter, what: str, unit: str, done: int, total: int) -> None:
        work(reporter, what, unit, done, total)
        if what == title and done == 7:
            raise KeyboardInterrupt

    before = all_bytes(own.photos)
    away = tmp_path / "away"
    with monkeypatch.context() as patch:
        patch.setattr(Reporter, "work", interrupt)
        run(own, capsysbinary, "--move-to", str(away), "--yes", code=130)
    assert all_bytes(own.photos, away) == before
    if title == "moving":
        assert sum(all_bytes(away).values()) == 7
    else:
        assert 7 <= remembered(own) < BASES
    run(own, capsysbinary, "--move-to", str(away), "--yes")
    assert all_bytes(own.photos, away) == before


def test_a_hash_of_another_length_is_found_and_dropped(own: Made, capsysbinary: Capture) -> None:
    groups(own, capsysbinary)
    with closing(sqlite3.connect(own.library / "catalog.sqlite")) as connection, connection:
        connection.execute(
            "UPDATE likeness SET hash = x'00' WHERE content = (SELECT min(content) FROM likeness)"
        )
    count = remembered(own)
    assert main(["doctor", "--library", str(own.library)]) == 1
    assert main(["doctor", "--repair", "--library", str(own.library)]) == 0
    assert remembered(own) == count - 1
    groups(own, capsysbinary)
    assert remembered(own) == count
