"""Rendered scenes: the same seed gives the same picture, and the words are true of the pixels."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest

from clipsearch.builtin.scenes import KINDS, Scene, gallery, render
from clipsearch.builtin.scenes.canvas import COLOURS
from clipsearch.builtin.scenes.figures import COUNTS

if TYPE_CHECKING:
    from PIL import Image

NUMBERS = {word: number for number, word in COUNTS.items()}


def near(image: Image.Image, colour: str, within: int = 60) -> npt.NDArray[np.bool_]:
    """Return where a picture has about the named colour, as (h, w) booleans."""
    pixels = np.asarray(image).astype(int)
    return np.abs(pixels - np.array(COLOURS[colour])).sum(-1) < within


def islands(mask: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.int64]]:
    """Return the connected regions of a mask, each as (n, 2) rows and columns."""
    todo = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    found = []
    while todo:
        edge = [todo.pop()]
        region = []
        while edge:
            y, x = edge.pop()
            region.append((y, x))
            for step in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
                if step in todo:
                    todo.remove(step)
                    edge.append(step)
        found.append(np.array(region))
    return [region for region in found if len(region) > 12]


def scenes_of(kind: str, count: int = 40) -> list[Scene]:
    return [render(seed, 96, kind) for seed in range(count)]


def test_a_seed_always_gives_the_same_picture_and_words() -> None:
    for seed in range(12):
        one, two = render(seed, 96), render(seed, 96)
        assert one.image.tobytes() == two.image.tobytes()
        assert (one.caption, one.captions, one.facts) == (two.caption, two.captions, two.facts)


def test_different_seeds_give_different_pictures() -> None:
    assert len({render(seed, 64).image.tobytes() for seed in range(60)}) == 60


@pytest.mark.parametrize("size", [64, 256, (512, 384), (300, 400), (97, 41)])
def test_any_size_is_rendered_in_rgb(size: int | tuple[int, int]) -> None:
    wanted = (size, size) if isinstance(size, int) else size
    for kind in KINDS:
        image = render(3, size, kind).image
        assert image.size == wanted
        assert image.mode == "RGB"


def test_a_gallery_has_as_many_scenes_as_asked_all_told_apart_by_their_captions() -> None:
    scenes = gallery(150, seed=7, size=32)
    assert len({scene.caption for scene in scenes}) == 150
    assert {scene.kind for scene in scenes} == set(KINDS)


def test_every_caption_is_true_of_its_own_picture() -> None:
    for scene in gallery(200, seed=11, size=16):
        assert scene.captions[0] == scene.caption
        for caption in scene.telling:
            assert caption.claims
            assert caption.claims <= scene.facts, caption.text


def test_no_caption_names_a_vowel_with_the_wrong_article() -> None:
    for scene in gallery(300, seed=23, size=16):
        for text in scene.captions:
            assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", text), text


def test_as_many_shapes_are_drawn_as_the_caption_counts() -> None:
    for scene in scenes_of("count"):
        word, colour, shape = scene.caption.split()
        regions = islands(near(scene.image, colour))
        assert len(regions) == NUMBERS[word], scene.caption
        assert shape.endswith("s")


def test_one_shape_of_the_named_colour_stands_on_the_named_ground() -> None:
    for scene in scenes_of("shape"):
        found = re.fullmatch(r"an? (?:small |large )?(\w+) \w+ on an? (\w+) background", scene.caption)
        assert found, scene.caption
        colour, ground = found.groups()
        assert near(scene.image, colour).mean() > 0.01
        corners = np.asarray(scene.image)[[0, 0, -1, -1], [0, -1, 0, -1]].astype(int)
        off = np.abs(corners - np.array(COLOURS[ground])).sum(1)
        assert off.min() < 60, scene.caption


def test_a_large_shape_covers_more_than_a_small_one() -> None:
    cover: dict[str, list[float]] = {"small": [], "large": []}
    for scene in scenes_of("shape", 150):
        found = re.match(r"an? (small|large) (\w+)", scene.caption)
        if found:
            cover[found[1]].append(float(near(scene.image, found[2]).mean()))
    assert max(cover["small"]) < min(cover["large"])


def test_positions_are_as_the_caption_says() -> None:
    seen = set()
    for scene in scenes_of("position", 60):
        found = re.fullmatch(r"an? (\w+) \w+ (to the left of|above) an? (\w+) \w+", scene.caption)
        assert found, scene.caption
        first, relation, second = found.groups()
        axis = 1 if relation == "to the left of" else 0
        here, there = (max(islands(near(scene.image, colour)), key=len) for colour in (first, second))
        assert here[:, axis].max() <= there[:, axis].min() + 4, scene.caption
        seen.add(relation)
    assert seen == {"to the left of", "above"}


def test_textures_are_made_of_their_two_colours() -> None:
    for scene in scenes_of("texture"):
        named = [colour for colour in COLOURS if re.search(rf"\b{colour}\b", scene.caption)]
        assert len(named) == 2, scene.caption
        for colour in named:
            assert near(scene.image, colour).mean() > 0.02, scene.caption


def test_a_night_is_darker_than_a_sunny_day() -> None:
    light: dict[str, list[float]] = {"at night": [], "on a sunny day": []}
    for scene in scenes_of("landscape", 80):
        for ending, values in light.items():
            if scene.caption.endswith(ending):
                values.append(float(np.asarray(scene.image).mean()))
    assert len(light["at night"]) > 5
    assert max(light["at night"]) < min(light["on a sunny day"])


def test_a_coloured_thing_in_a_landscape_shows_its_colour() -> None:
    shown = 0
    for seed in range(200):
        scene = render(seed, 96, "landscape")
        found = re.match(
            r"a (red|blue|yellow) (?:car|bus|tent|hot-air balloon)\b.* on a sunny day", scene.caption
        )
        if found:
            assert near(scene.image, found[1], 70).mean() > 0.01, scene.caption
            shown += 1
    assert shown >= 2
