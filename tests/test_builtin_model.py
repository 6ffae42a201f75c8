"""The built-in model through the whole tool: words find the pictures they describe, offline."""

from __future__ import annotations

import shutil
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

import pytest
import skimage

from clipsearch import Library
from clipsearch.builtin.scenes import Scene, gallery
from clipsearch.types import Listeners

if TYPE_CHECKING:
    from collections.abc import Iterator

FIRST_SEED = 900_000  # training begins at 1,000,000
COUNT = 40


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return gallery(COUNT, FIRST_SEED, kind="landscape")


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory, scenes: list[Scene]) -> Path:
    folder = tmp_path_factory.mktemp("gallery")
    for number, scene in enumerate(scenes):
        scene.image.save(folder / f"{number}.jpg", quality=92)
    return folder


@pytest.fixture(scope="module")
def told() -> list[str]:
    return []


@pytest.fixture(scope="module")
def library(
    tmp_path_factory: pytest.TempPathFactory, builtin_cache: Path, painted: Path, told: list[str]
) -> Iterator[Library]:
    """Made without naming a model, where the hub cannot be reached."""
    home = tmp_path_factory.mktemp("builtin")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nothing listens on the discard port
        patch.setenv("HF_HOME", str(home / "hub"))
        patch.setenv("CLIPSEARCH_CACHE", str(builtin_cache))
        with Library.open(home / "library", listeners=Listeners(notice=told.append)) as library:
            library.index([painted])
            yield library


def test_without_the_default_model_a_new_library_gets_the_built_in_and_says_so(
    library: Library, told: list[str]
) -> None:
    model = library.status().model
    assert model is not None
    assert model.source.name == "builtin"
    assert "ViT-B-32-256" in told[0]
    assert "built-in model instead" in told[0]
    assert "--model default" in told[-1], "and how to get a full one"


def test_a_picture_is_found_by_its_description(library: Library, scenes: list[Scene]) -> None:
    found = 0
    for number, scene in enumerate(scenes):
        names = [match.path.name for match in library.search(scene.caption, limit=3)]
        found += f"{number}.jpg" in names
    assert found >= 0.8 * COUNT, f"{found} of {COUNT} among the first three"


def test_subtracting_what_a_picture_shows_moves_it_back(library: Library, scenes: list[Scene]) -> None:
    sunsets = {f"{number}.jpg" for number, scene in enumerate(scenes) if "sunset" in scene.caption}

    def mean_rank(*subtracted: str) -> float:
        found = library.search("sea", subtract=subtracted, limit=COUNT)
        return mean(match.rank for match in found if match.path.name in sunsets)

    assert mean_rank("sunset") > mean_rank() + COUNT / 10


def test_photographs_that_it_never_saw_are_found_by_everyday_words(tmp_path: Path) -> None:
    shipped = Path(skimage.__file__).parent / "data"
    photos = {
        "a cat": "chelsea.png",
        "a cup of coffee": "coffee.png",
        "a rocket": "rocket.jpg",
        "a person": "astronaut.png",
    }
    for name in photos.values():
        shutil.copy(shipped / name, tmp_path)
    with Library.open(tmp_path / "library") as other:
        other.index([tmp_path], model="builtin")
        for words, name in photos.items():
            assert other.search(words, limit=1)[0].path.name == name
        told = {p.path.name: list(photos)[p.best] for p in other.classify(list(photos))}
        assert told == {name: words for words, name in photos.items()}


def test_similar_pictures_are_of_the_same_kind(library: Library, painted: Path, scenes: list[Scene]) -> None:
    shared = other = 0.0
    for number, scene in enumerate(scenes):
        ranked = library.similar(painted / f"{number}.jpg", limit=COUNT)
        facts = [scenes[int(match.path.stem)].facts & scene.facts for match in ranked]
        shared += sum(map(len, facts[:5])) / 5
        other += sum(map(len, facts[-5:])) / 5
    assert shared > 1.5 * other
