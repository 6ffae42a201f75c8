"""The Library with a real (tiny, random) OpenCLIP model: what it answers follows from how it is made."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from conftest import CACHE
from PIL import Image

from clipsearch import Library, Match
from clipsearch.errors import (
    LibraryBusyError,
    NoLibraryError,
    PhotoError,
    UnknownModelError,
    UsageError,
)
from clipsearch.lock import writer_lock
from clipsearch.types import Filters, Listeners, Term

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def scribble(path: Path, seed: int) -> Path:
    """A picture of random blocks: no two seeds look alike."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    blocks = random.integers(0, 256, (6, 8, 3), np.uint8)
    Image.fromarray(blocks).resize((96, 72), Image.Resampling.NEAREST).save(path)
    return path


class Home:
    """A folder of photos and the library made from it."""

    def __init__(self, folder: Path, model: str) -> None:
        self.photos = folder / "photos"
        self.path = folder / "library"
        self.model = model
        self.told: list[str] = []

    def open(self) -> Library:
        return Library.open(self.path, listeners=Listeners(notice=self.told.append))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_models: Path) -> Home:
    """Twenty photos, one of them twice, indexed once for all tests that only read."""
    folder = tmp_path_factory.mktemp("made")
    shutil.copytree(tiny_models / CACHE, folder / "cache")
    home = Home(folder, f"local-dir:{tiny_models / 'clip'}")
    for seed in range(20):
        scribble(home.photos / f"{seed % 2}/{seed:02}.png", seed)
    shutil.copy(home.photos / "0/00.png", home.photos / "copy.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPSEARCH_CACHE", str(folder / "cache"))
        with home.open() as library:
            report = library.index([home.photos], model=home.model)
        assert (report.new, report.copied, report.embedded) == (20, 1, 20)
    return home


@pytest.fixture
def library(made: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(made.path.parent / "cache"))
    made.told.clear()
    with made.open() as library:
        yield library


def test_a_photo_is_its_own_nearest_neighbor(made: Home, library: Library) -> None:
    for path in sorted(made.photos.rglob("*.png")):
        best = library.similar(path, include_self=True, limit=2)
        assert best[0].score >= 0.999
        assert best[0].path.read_bytes() == path.read_bytes()


def test_similar_leaves_the_photo_and_its_copies_out_unless_asked(made: Home, library: Library) -> None:
    path = made.photos / "0/00.png"
    others = library.similar(path, limit=50)
    assert len(others) == 19
    assert not {match.path.name for match in others} & {"00.png", "copy.png"}
    everything = library.similar(path, limit=50, include_self=True)
    assert [match.path.name for match in everything[:2]] == ["00.png", "copy.png"]
    assert [match.rank for match in everything] == list(range(1, 22))
    scores = [match.score for match in everything]
    assert scores == sorted(scores, reverse=True)


def test_similar_to_a_picture_that_is_not_indexed_equals_similar_to_its_indexed_twin(
    made: Home, library: Library, tmp_path: Path
) -> None:
    with Image.open(made.photos / "1/03.png") as image:
        image.save(tmp_path / "same-pixels.bmp")
    stranger = library.similar(tmp_path / "same-pixels.bmp", limit=5)
    assert stranger[0].path == made.photos / "1/03.png"
    assert stranger[0].score == pytest.approx(1, abs=1e-3)


def test_limit_folder_and_floor_bound_the_answer(made: Home, library: Library) -> None:
    assert len(library.search("a dog", limit=3)) == 3
    inside = library.search("a dog", limit=100, filters=Filters(inside=made.photos / "1"))
    assert len(inside) == 10
    assert all(match.path.parent.name == "1" for match in inside)
    floor = inside[4].score
    above = library.search("a dog", limit=100, filters=Filters(inside=made.photos / "1"), min_score=floor)
    assert [match.score for match in above] == [match.score for match in inside[:5]]
    assert library.search("a dog", min_score=0.9999) == []
    assert library.search("a dog", filters=Filters(inside=made.path)) == []


def test_a_query_that_adds_a_photo_and_subtracts_the_text_is_that_photo(made: Home, library: Library) -> None:
    path = made.photos / "0/04.png"
    plain = library.similar(path, limit=5, include_self=True)
    mixed = library.search("a dog", add=[str(path)], subtract=["a dog"], limit=5)
    assert [match.path for match in mixed] == [match.path for match in plain]


def test_weights_tip_the_balance(made: Home, library: Library) -> None:
    one, two = made.photos / "0/02.png", made.photos / "1/05.png"
    assert library.search(f"9:{one}", add=[str(two)], limit=1)[0].path == one
    assert library.search(str(one), add=[f"9:{two}"], limit=1)[0].path == two


def test_classification_of_stored_and_of_fresh_pictures_agrees(
    made: Home, library: Library, tmp_path: Path
) -> None:
    labels = ["cat", "dog, small", "tree"]
    stored = {p.path: p.probabilities for p in library.classify(labels)}
    assert set(stored) == set(made.photos.rglob("*.png"))
    for chances in stored.values():
        assert sum(chances) == pytest.approx(1, abs=1e-5)
    with Image.open(made.photos / "1/03.png") as image:
        image.save(tmp_path / "fresh.bmp")
    (fresh,) = library.classify(labels, paths=[tmp_path / "fresh.bmp"])
    np.testing.assert_allclose(fresh.probabilities, stored[made.photos / "1/03.png"], atol=5e-3)
    of_folder = {p.path: p.probabilities for p in library.classify(labels, paths=[made.photos / "1"])}
    assert of_folder.keys() == {path for path in stored if path.parent.name == "1"}
    # Looked up one by one, with their length made exact, where all photos come in blocks as stored.
    for path, chances in of_folder.items():
        np.testing.assert_allclose(chances, stored[path], atol=2e-4)
    inside = {p.path for p in library.classify(labels, filters=Filters(inside=made.photos / "1"))}
    assert inside == of_folder.keys()


def test_classify_goes_on_past_an_unreadable_file_and_says_so(
    made: Home, library: Library, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"nothing")
    good = made.photos / "copy.png"
    assert [p.path for p in library.classify(["a", "b"], paths=[bad, good])] == [good]
    assert len(made.told) == 1
    assert "bad.jpg" in made.told[0]
    with pytest.raises(PhotoError):
        list(library.classify(["a", "b"], paths=[bad]))


@pytest.mark.parametrize(
    ("ask", "error"),
    [
        (lambda library: library.search(""), UsageError),
        (lambda library: library.search("  "), UsageError),
        (lambda library: library.search("dog", limit=0), UsageError),
        (lambda library: library.search("missing.jpg"), UsageError),
        (lambda library: library.similar("missing.jpg"), UsageError),
        (lambda library: list(library.classify([])), UsageError),
        (lambda library: list(library.classify(["cat", "cat"])), UsageError),
        (lambda library: library.relocate("/nowhere", "/tmp"), UsageError),
        (lambda library: library.forget("/nowhere"), UsageError),
    ],
)
def test_requests_that_make_no_sense_are_refused(library: Library, ask, error) -> None:
    with pytest.raises(error) as caught:
        ask(library)
    assert "\n" not in caught.value.message


def test_a_text_file_is_no_query_picture(library: Library, tmp_path: Path) -> None:
    path = tmp_path / "notes.jpg"
    path.write_text("not a picture")
    with pytest.raises(PhotoError, match=r"notes\.jpg"):
        library.similar(path)


def test_status_counts_what_is_there(made: Home, library: Library) -> None:
    status = library.status()
    assert (status.photos, status.contents, status.embeddings, status.skipped) == (21, 20, 20, 0)
    assert [(root.path, root.photos, root.online) for root in status.roots] == [(made.photos, 21, True)]
    assert status.model is not None
    assert str(status.model.source) == made.model
    assert status.last_run is not None
    assert status.last_run.new == 20
    assert status.catalog_bytes > 0


@pytest.fixture
def own(made: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A copy of the library and its photos, free to change."""
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(made.path.parent / "cache"))
    home = Home(tmp_path, made.model)
    shutil.copytree(made.photos, home.photos)
    shutil.copytree(made.path, home.path)
    with home.open() as library:
        library.relocate(made.photos, home.photos)
    return home


def test_relocate_carries_every_photo_over_and_embeds_nothing(own: Home) -> None:
    new = own.photos.rename(own.photos.with_name("elsewhere"))
    with own.open() as library:
        assert library.relocate(own.photos, new) == 21
        assert all(match.path.is_relative_to(new) for match in library.search("a dog", limit=50))
        report = library.index()
    assert (report.unchanged, report.embedded) == (21, 0)


def test_forget_takes_a_root_out_and_leaves_its_photos_alone(own: Home) -> None:
    other = own.photos.with_name("other")
    scribble(other / "x.png", 99)
    before = {path: path.read_bytes() for path in own.photos.rglob("*.png")}
    with own.open() as library:
        library.index([other])
        assert library.forget(own.photos) == 21
        assert [match.path for match in library.search("a dog", limit=50)] == [other / "x.png"]
        assert library.status().contents == 1
    assert {path: path.read_bytes() for path in own.photos.rglob("*.png")} == before


def test_an_open_library_sees_what_another_process_indexed_since(own: Home) -> None:
    with own.open() as reader, own.open() as writer:
        assert len(reader.search("a dog", limit=50)) == 21
        scribble(own.photos / "new.png", 77)
        writer.index()
        assert len(reader.search("a dog", limit=50)) == 22


def test_photos_of_an_unplugged_drive_are_left_out_and_back_at_once(own: Home) -> None:
    away = own.photos.with_name("away")
    with own.open() as library:
        own.photos.rename(away)
        assert library.search("a dog") == []
        assert "cannot be reached" in own.told[-1]
        assert not library.status().roots[0].online
        assert library.similar(own.photos / "copy.png", limit=3) == [], "its own vector is still known"
        away.rename(own.photos)
        assert len(library.search("a dog", limit=50)) == 21


def test_deleted_photos_do_not_crowd_out_living_ones(own: Home) -> None:
    with own.open() as library:
        ranked = library.search("a dog", limit=50)
        for match in ranked[:15]:
            match.path.unlink()
        library.index()
        assert [match.path for match in library.search("a dog", limit=3)] == [
            match.path for match in ranked[15:18]
        ]


def test_another_model_answers_beside_the_first_which_answers_as_before(
    own: Home, tmp_path: Path, tiny_models: Path
) -> None:
    other = f"local-dir:{tiny_models / 'siglip'}"
    with own.open() as library:
        before = library.search("a dog", limit=50), library.months()
        report = library.index(model=other)
        assert (report.unchanged, report.embedded) == (21, 20)
        assert (library.search("a dog", limit=50), library.months()) == before
        assert library.index(model=own.model).embedded == 0, "naming the library's own model is fine"
        assert [model.photos for model in library.models()] == [21, 21]
    with Library.open(tmp_path / "alone") as alone, Library.open(own.path, model=other) as beside:
        alone.index([own.photos], model=other)
        found = beside.search("a dog", limit=50)
        wanted = {match.path: match.score for match in alone.search("a dog", limit=50)}
        # Batches and rows come in another order; that moves a score as much as rounding to float16 does.
        assert {match.path: match.score for match in found} == pytest.approx(wanted, abs=1e-3)
        assert found != before[0]


def test_before_anything_is_embedded_another_model_may_be_chosen(
    own: Home, tmp_path: Path, tiny_models: Path
) -> None:
    other = f"local-dir:{tiny_models / 'siglip'}"
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "photo.jpg").write_text("no picture")
    with Library.open(tmp_path / "new") as library:
        assert library.index([broken], model=own.model).skipped == 1
        assert library.index([own.photos], model=other).embedded > 0
        assert library.status().model.source.name == other


def test_a_second_writer_is_told_who_holds_the_lock(own: Home) -> None:
    with own.open() as library, writer_lock(own.path):
        for write in (library.index, lambda: library.forget(own.photos)):
            with pytest.raises(LibraryBusyError, match="process"):
                write()
        assert library.search("a dog"), "searching goes on"
    with own.open() as library:
        assert library.index().unchanged == 21


def test_a_library_without_photos_says_so(tmp_path: Path) -> None:
    with Library.open(tmp_path / "none") as library:
        asks = [library.status, library.skipped, lambda: library.search("dog"), lambda: library.forget("/x")]
        for ask in asks:
            with pytest.raises(NoLibraryError):
                ask()
        for roots in ([], [tmp_path / "nowhere"]):
            with pytest.raises(UsageError):
                library.index(roots)
        with pytest.raises(UnknownModelError):
            library.index([tmp_path], model="ViT-B-23")
    assert not (tmp_path / "none").exists(), "a mistake makes no library"


def test_a_folder_without_pictures_becomes_no_root(own: Home) -> None:
    bare = own.photos.with_name("bare")
    bare.mkdir()
    (bare / "notes.txt").touch()
    with own.open() as library:
        report = library.index([bare])
        assert (report.new, report.skipped) == (0, 0)
        assert [root.path for root in library.status().roots] == [own.photos]
        assert library.index().offline == ()


def test_the_library_folder_is_private_to_its_user(own: Home, tmp_path: Path) -> None:
    with Library.open(tmp_path / "fresh") as library:
        library.index([own.photos], model=own.model)
    assert (tmp_path / "fresh").stat().st_mode & 0o077 == 0


def test_pages_put_together_are_the_whole_answer(made: Home, library: Library) -> None:
    def rounded(match: Match) -> Match:  # margins of more photos at a time differ by 1e-7
        return replace(match, margin=None if match.margin is None else round(match.margin, 5))

    for whole, page in (
        (library.search("a dog", limit=21), lambda offset: library.search("a dog", limit=4, offset=offset)),
        (library.newest(limit=21), lambda offset: library.newest(limit=4, offset=offset)),
        (
            library.similar(made.photos / "1/01.png", limit=20),
            lambda offset: library.similar(made.photos / "1/01.png", limit=4, offset=offset),
        ),
    ):
        parts = [match for offset in range(0, 24, 4) for match in page(offset)]
        assert list(map(rounded, parts)) == list(map(rounded, whole))
    assert library.search("a dog", limit=4, offset=21) == []
    with pytest.raises(UsageError, match="offset -1"):
        library.newest(offset=-1)


def test_a_photo_answers_to_its_id_and_stands_for_its_picture_in_a_query(
    made: Home, library: Library
) -> None:
    path = made.photos / "1/03.png"
    photo = library.similar(path, include_self=True, limit=1)[0].photo
    assert library.photo(photo.id) == photo
    term = Term(str(photo.id), kind="photo")
    assert library.similar(term) == library.similar(path)
    assert library.search("a dog", subtract=[term]) == library.search("a dog", subtract=[str(path)])
    assert library.search(add=["a dog", Term(str(photo.id), -2.0, "photo")]) == library.search(
        "a dog", subtract=[f"2:{path}"]
    )
    with pytest.raises(UsageError, match="no photo has the id 4711"):
        library.photo(4711)
    with pytest.raises(UsageError, match="no photo has the id 4711"):
        library.similar(Term("4711", kind="photo"))


def test_an_embedded_picture_finds_what_its_file_finds(library: Library, tmp_path: Path) -> None:
    path = scribble(tmp_path / "new.png", 99)
    term = Term("dropped", 1.0, "embedding", library.embed(path.read_bytes()))
    assert library.similar(term) == library.similar(path)
    with pytest.raises(PhotoError):
        library.embed(b"no picture")


def test_folders_are_counted_level_by_level(made: Home, library: Library) -> None:
    assert library.folders() == [(made.photos, 21)]
    assert library.folders(made.photos) == [(made.photos / "0", 10), (made.photos / "1", 10)]
    assert library.folders(made.photos / "0") == []
    assert library.folders(made.photos.parent) == []


def test_threads_share_a_library_s_models(library: Library) -> None:
    with library.another() as other, ThreadPoolExecutor(1) as thread:
        answer = thread.submit(lambda: library.another().search("a dog")).result()
        assert answer == library.search("a dog") == other.search("a dog")
        assert other._session().texts() is library._session().texts()
