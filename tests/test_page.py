"""The page, in a real browser, on a real server, over real photos."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import re
import shutil
import sys
import zipfile
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from camera_files import film
from mean_color import paint
from PIL import Image
from written import write

from clipsearch.catalog.catalog import Catalog
from clipsearch.catalog.scope import Scope
from clipsearch.catalog.tags import record_tags

pytest.importorskip("fastapi", reason="needs clipsearch[web]")
sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")

from axe_playwright_python.sync_playwright import Axe  # noqa: E402 - after the skips
from web_page import PHONE, Screen, chromium, clipsearch, serving  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Locator, Page, Route

expect = sync_api.expect

LABELS = {
    "sunflower": "flowers",
    "lotus": "flowers",
    "dalmatian": "dogs",
    "pizza": "food",
    "car side": "cars",
}
FLOWERS = 14
DATED = 12  # photos, four in each of the first three months of 2022
HOSTILE = "<img src=x onerror=alert(1)>.png"
BROKEN = "a\nb\u202egpj.png"
MANY = 3000
# What Chromium itself writes to the console of a picture or an answer that was not to be had.
NOT_LOADED = "Failed to load resource"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, shared_photos: Path) -> Path:
    """Some eighty photos in folders, some with dates, some with names that nobody should give."""
    folder = tmp_path_factory.mktemp("pictures") / "Photos"
    with (shared_photos / "labels.tsv").open(newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if inside := LABELS.get(row["label"]):
                (folder / inside).mkdir(parents=True, exist_ok=True)
                shutil.copy(shared_photos / row["file"], folder / inside)
    (folder / "trips" / "2022").mkdir(parents=True)
    for number in range(DATED):
        _dated(
            folder / "trips" / "2022" / f"{number:02}.jpg", number, f"2022:{1 + number // 4:02}:05 10:00:00"
        )
    _dated(folder / "trips" / "old.jpg", 99, "2021:11:01 08:30:00")
    (folder / "odd").mkdir()
    for hue, name in enumerate((HOSTILE, BROKEN)):
        Image.new("RGB", (300, 200), f"hsl({hue * 90}, 60%, 50%)").save(folder / "odd" / name)
    flower, car, pizza = (min((folder / name).iterdir()) for name in ("flowers", "cars", "food"))
    scenes = [Image.open(one).convert("RGB") for one in (car, flower)]
    film(folder / "films" / "new.mp4", scenes, size=(320, 240), codec="libx264")
    film(folder / "films" / "old.avi", scenes, size=(320, 240))
    (folder / "twice").mkdir()
    for name in ("one.jpg", "other.jpg"):
        shutil.copy(pizza, folder / "twice" / name)
    with Image.open(pizza) as picture:
        picture.resize((picture.width // 2, picture.height // 2)).save(folder / "twice" / "small.jpg")
    if sys.platform == "linux":
        Image.new("RGB", (200, 200), "teal").save(os.fsencode(folder / "odd") + b"/\xff.png")
    return folder


def _dated(path: Path, number: int, taken: str) -> None:
    picture = Image.new("RGB", (320, 240) if number % 2 else (240, 320), f"hsl({number * 27}, 50%, 50%)")
    exif = Image.Exif()
    exif[0x0110] = "Box Brownie"
    exif.get_ifd(0x8769)[0x9003] = taken
    picture.save(path, exif=exif)


@pytest.fixture(scope="module")
def library(photos: Path, builtin_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("library")
    clipsearch(where, "index", str(photos), "--model", "builtin", cache=builtin_cache)
    with Catalog(where, write=True) as catalog:
        flowers = [one.content for one in catalog.newest(Scope(), 100) if "flowers" in one.path.parts]
        model, _ = catalog.current_model()
        record_tags(catalog, model, flowers, [[("flower", 0.9), ("plant", 0.6)]] * len(flowers))
    write(where, "words", {"03.jpg": "INVOICE 2023"})
    write(where, "caption", {"03.jpg": "a box", "04.jpg": "a box with an invoice"})
    return where


@pytest.fixture(scope="module")
def address(library: Path, builtin_cache: Path) -> Iterator[str]:
    with serving(library, cache=builtin_cache) as at:
        yield at


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_api.sync_playwright() as playwright:
        browser = chromium(playwright)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def windows(browser: Browser, address: str) -> Iterator[Screen]:
    screen = Screen(browser, address)
    yield screen
    screen.close()


@pytest.fixture
def screen(windows: Screen) -> Iterator[Screen]:
    """No test may end with an error in the console."""
    yield windows
    faults, windows.faults = windows.faults, []
    assert faults == []


@contextmanager
def _elsewhere(browser: Browser, library: Path) -> Iterator[Screen]:
    """Pages of another library, whose server runs as long as the body."""
    with serving(library) as at:
        yield Screen(browser, at)


def _search(page: Page, text: str) -> None:
    """Search for something of which another photo is the best than now."""
    before = _names(page)[0]
    page.fill("#q", text)
    expect(page).to_have_url(re.compile(rf"q={text.split(maxsplit=1)[0]}"))
    expect(page.locator(".tile .name").first).not_to_have_text(before)


def _names(page: Page) -> list[str]:
    return page.locator(".tile .name").all_inner_texts()


def _tiles(page: Page) -> Locator:
    return page.locator(".tile")


def _is_flower(page: Page, photos: Path) -> bool:
    return (photos / "flowers" / _names(page)[0]).exists()


def _faults_of_access(page: Page, *, colors: bool = False) -> list[str]:
    """What axe holds to be a serious or critical fault; of the `colors` alone, or in all."""
    options = {"runOnly": ["color-contrast"]} if colors else {}
    found = Axe().run(page, options={"resultTypes": ["violations"], **options}).response["violations"]
    return [
        f"{one['id']}: {one['nodes'][0]['html']}" for one in found if one["impact"] in {"serious", "critical"}
    ]


# -- searching ---------------------------------------------------------------------------------


def test_all_photos_are_there_without_a_query_the_newest_first(screen: Screen, photos: Path) -> None:
    page = screen.open()
    total = sum(1 for path in photos.rglob("*") if path.is_file())
    expect(page.locator("#summary")).to_have_text(f"{total} photos, newest first")
    first = page.locator(".tile .open").first
    assert "March 2022" in (first.get_attribute("aria-label") or "")


def test_words_find_photos_as_they_are_typed_and_the_address_tells(screen: Screen, photos: Path) -> None:
    page = screen.open()
    page.keyboard.press("/")
    page.keyboard.type("flower", delay=15)
    expect(page).to_have_url(re.compile(r"\?q=flower$"))
    expect(page.locator("#summary")).to_contain_text("match")
    expect(page).to_have_title("flower \u2013 clipsearch")
    assert _is_flower(page, photos)
    best = _names(page)[0]
    page.reload()
    expect(page.locator("#q")).to_have_value("flower")
    expect(page.locator(".tile .name").first).to_have_text(best)


def test_an_answer_that_comes_too_late_is_dropped(screen: Screen, photos: Path) -> None:
    page = screen.open()
    held: list[Route] = []
    page.route(re.compile("add=car"), lambda route: held.append(route))  # noqa: PLW0108 - playwright marks it
    with page.expect_request(re.compile("add=car")):
        page.fill("#q", "car")
    _search(page, "flower")
    for route in held:
        with suppress(sync_api.Error):  # the page has given it up
            route.continue_()
    page.wait_for_timeout(200)
    assert _is_flower(page, photos)


def test_back_and_forward_go_through_what_was_looked_at(screen: Screen) -> None:
    page = screen.open()
    everything = _names(page)[0]
    _search(page, "dog")
    dog = _names(page)[0]
    page.click(".tile .open")
    expect(page.locator("#viewer")).to_be_visible()
    page.go_back()
    expect(page.locator("#viewer")).to_be_hidden()
    page.go_back()
    expect(page.locator(".tile .name").first).to_have_text(everything)
    expect(page.locator("#q")).to_have_value("")
    page.go_forward()
    expect(page.locator(".tile .name").first).to_have_text(dog)
    expect(page.locator("#q")).to_have_value("dog")


def test_a_line_parts_matches_from_chance(screen: Screen) -> None:
    page = screen.open("?q=sunflower")
    line = page.locator(".divider")
    expect(line).to_have_text("No better than chance below")
    middle = line.bounding_box()["y"]
    strengths = page.evaluate(
        """() => [...document.querySelectorAll('.tile')].map((tile) =>
            [tile.getBoundingClientRect().top, tile.querySelector('.small').textContent])"""
    )
    assert {strength for y, strength in strengths if y > middle} == {"weak"}
    assert {strength for y, strength in strengths if y < middle} & {"strong", "fair"}
    assert screen.open().locator(".divider").count() == 0


def test_rows_are_of_equal_height_and_fill_the_width(screen: Screen) -> None:
    page = screen.open()
    boxes = page.evaluate(
        """() => [...document.querySelectorAll('.tile')].map((tile) => {
            const {left, right, top, height} = tile.getBoundingClientRect();
            return [left, right, top, height].map(Math.round) })"""
    )
    grid = page.locator("#grid").bounding_box()
    rows: dict[int, list[list[int]]] = {}
    for box in boxes:
        rows.setdefault(box[2], []).append(box)
    assert len(rows) >= 3
    for row in list(rows.values())[:-1]:
        assert len({height for *_, height in row}) == 1
        assert row[0][0] == round(grid["x"])
        assert abs(row[-1][1] - (grid["x"] + grid["width"])) <= 1


# -- scrolling ---------------------------------------------------------------------------------


def test_thousands_scroll_with_few_in_the_document(browser: Browser, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(40):
        size = (96, 64) if number % 3 else (64, 96)
        Image.new("RGB", size, f"hsl({number * 9}, 60%, 50%)").save(folder / f"{number:04}.png")
    for number in range(40, MANY):
        os.link(folder / f"{number % 40:04}.png", folder / f"{number:04}.png")
    clipsearch(tmp_path / "library", "index", str(folder))
    with _elsewhere(browser, tmp_path / "library") as screen:
        _scroll(screen)


def _scroll(screen: Screen) -> None:
    page = screen.open(still=True)
    asked: list[str] = []
    page.on("request", lambda request: "api/search" in request.url and asked.append(request.url))
    expect(page.locator("#summary")).to_have_text("3,000 photos, newest first")
    names = set(_names(page))
    for turn in range(200):  # as many more as a busy machine needs until it has drawn them
        page.mouse.wheel(0, 1500)
        page.wait_for_timeout(60)
        assert _tiles(page).count() < 160
        names |= set(_names(page))
        if turn >= 11 and len(names) > 200:
            break
    assert len(names) > 200
    here = page.evaluate("scrollY")
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")  # straight to the end
    last = page.locator(f".tile[aria-posinset='{MANY}']")
    expect(last).to_be_in_viewport()
    assert page.evaluate("scrollY") > 5 * here
    assert len(asked) < MANY / 100 / 2, "what was jumped over is not asked for"
    assert _tiles(page).count() < 160
    page.click("#to-top")
    expect(page.locator(".tile[aria-posinset='1']")).to_be_in_viewport()
    # From the first to the last and back with the keyboard.
    page.locator(".tile .open").first.focus()
    page.keyboard.press("End")
    expect(last.locator(".open")).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(page.locator(f".tile[aria-posinset='{MANY - 1}'] .open")).to_be_focused()
    screen.close()
    assert screen.faults == []


# -- looking -----------------------------------------------------------------------------------


def test_a_photo_opens_large_with_what_is_known_of_it(screen: Screen) -> None:
    page = screen.open("?camera=brownie")
    page.click(".tile .open")
    expect(page.locator("#v-name")).to_have_text("08.jpg")
    expect(page.locator("#v-position")).to_have_text(f"1 of {DATED + 1}")
    facts = page.locator("#v-list")
    for words in ("5 March 2022, 10:00", "Box Brownie", "240 \u00d7 320"):
        expect(facts).to_contain_text(words)
    expect(facts.get_by_role("button")).to_contain_text([re.compile(r"trips/2022$")])
    expect(page.locator("#large")).to_have_js_property("naturalWidth", 240)
    page.keyboard.press("i")
    expect(page.locator("#facts")).to_be_hidden()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#v-position")).to_have_text(f"2 of {DATED + 1}")
    expect(page).to_have_url(re.compile(r"photo=\d+"))
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#v-position")).to_have_text(f"1 of {DATED + 1}")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    expect(page.locator(".tile[aria-posinset='2'] .open")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#v-position")).to_have_text(f"2 of {DATED + 1}")
    page.reload()
    expect(page.locator("#v-position")).to_have_text(f"2 of {DATED + 1}")
    page.click("#v-close")
    expect(page.locator("#viewer")).to_be_hidden()


def test_a_photo_zooms_and_moves(screen: Screen) -> None:
    page = screen.open(still=True)
    page.click(".tile .open")
    large = page.locator("#large")
    width = large.bounding_box()["width"]

    def zoomed() -> float:
        return large.bounding_box()["width"] / width

    page.keyboard.press("+")
    assert zoomed() > 1.3
    page.keyboard.press("0")
    assert zoomed() == pytest.approx(1, abs=0.01)
    middle = page.locator("#stage").bounding_box()
    x, y = middle["x"] + middle["width"] / 2, middle["y"] + middle["height"] / 2
    page.mouse.move(x, y)
    page.mouse.wheel(0, -900)
    assert zoomed() > 2
    before = large.bounding_box()
    page.mouse.down()
    page.mouse.move(x + 60, y + 30, steps=4)
    page.mouse.up()
    after = large.bounding_box()
    assert (after["x"] - before["x"], after["y"] - before["y"]) == pytest.approx((60, 30), abs=2)
    page.mouse.dblclick(x, y)
    assert zoomed() == pytest.approx(1, abs=0.01)
    page.mouse.dblclick(x, y)
    assert zoomed() >= 2
    expect(page.locator("#v-zoom")).not_to_have_text("100 %")
    page.keyboard.press("ArrowRight")  # moves what is zoomed
    expect(page.locator("#v-position")).to_contain_text("1 of")


def test_more_like_this_finds_its_kind_without_itself(screen: Screen, photos: Path) -> None:
    page = screen.open("?q=sunflower")
    name = _names(page)[0]
    page.hover(".tile")
    page.click(".tile .more")
    page.get_by_role("menuitem", name="More like this").click()
    expect(page.locator(".chip.plus img")).to_be_visible()
    expect(page).to_have_url(re.compile(r"\?add=photo:?(%3A)?\d+$"))
    expect(page.locator(".tile .name").first).not_to_have_text(name)
    assert _is_flower(page, photos)
    assert name not in _names(page)
    page.click(".tile .open")
    page.keyboard.press("l")
    expect(page.locator("#viewer")).to_be_hidden()
    assert page.locator(".chip.term").count() == 1


# -- searching by pictures, and by several things ----------------------------------------------


def _give(page: Page, photo: Path, how: str) -> None:
    """Drop or paste a picture, as browsers tell of it."""
    page.evaluate(
        """([how, data, name]) => {
            const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], name, {type: 'image/jpeg'}));
            const passed = {clipboardData: transfer, dataTransfer: transfer, bubbles: true, cancelable: true};
            const kinds = {paste: ['paste'], drag: ['dragenter', 'dragover'], drop: ['dragover', 'drop']};
            for (const kind of kinds[how]) {
                const Kind = how === 'paste' ? ClipboardEvent : DragEvent;
                document.body.dispatchEvent(new Kind(kind, passed));
            }
        }""",
        [how, base64.b64encode(photo.read_bytes()).decode(), photo.name],
    )


@pytest.mark.parametrize("how", ["drop", "paste", "pick"])
def test_a_picture_from_elsewhere_is_searched_by(screen: Screen, photos: Path, how: str) -> None:
    page = screen.open("?q=car")
    photo = min((photos / "flowers").iterdir())
    if how == "pick":
        with page.expect_file_chooser() as chooser:
            page.click("#pick")
        chooser.value.set_files(photo)
    else:
        _give(page, photo, "drag" if how == "drop" else how)
        if how == "drop":
            expect(page.locator("#veil")).to_be_visible()
            _give(page, photo, "drop")
    preview = page.locator(".chip.plus img")
    expect(preview).to_have_attribute("src", re.compile("^blob:"))
    expect(page.locator("#veil")).to_be_hidden()
    expect(page.locator("#q")).to_have_value("")
    expect(page.locator(".tile .name").first).to_have_text(photo.name)
    page.go_back()
    expect(page.locator("#q")).to_have_value("car")


def test_what_is_no_picture_is_said_so(screen: Screen, tmp_path: Path) -> None:
    page = screen.open()
    (tmp_path / "x.jpg").write_bytes(b"not a picture")
    _give(page, tmp_path / "x.jpg", "drop")
    expect(page.locator(".toast")).to_be_visible()
    assert page.locator(".chip").count() == 0
    assert all(NOT_LOADED in fault for fault in screen.faults)
    screen.faults.clear()


def test_terms_are_added_subtracted_weighed_and_taken_away(screen: Screen) -> None:
    page = screen.open()
    page.fill("#q", "flower -sunflower +pond")
    page.press("#q", "Enter")
    expect(page.locator("#q")).to_have_value("flower")
    expect(page).to_have_url(re.compile(r"\?q=flower&add=pond&subtract=sunflower$"))
    minus = page.locator(".chip.minus")
    expect(minus).to_contain_text("sunflower")
    minus.locator(".weight").click()
    minus.locator(".weight").click()
    expect(page).to_have_url(re.compile("subtract=3(:|%3A)sunflower"))
    expect(minus).to_contain_text("3\u00d7")
    minus.locator(".weight").click()
    expect(page).to_have_url(re.compile("subtract=sunflower"))
    minus.locator(".sign").click()
    expect(page.locator(".chip.plus")).to_have_count(2)
    page.locator(".chip.plus", has_text="pond").get_by_role("button", name="Remove").click()
    expect(page.locator(".chip.term")).to_have_count(1)
    page.get_by_role("button", name="Subtract", exact=True).click()
    page.keyboard.type("car")
    page.keyboard.press("Enter")
    expect(page.locator(".chip.minus")).to_contain_text("car")
    page.fill("#q", "")
    page.press("#q", "Backspace")
    expect(page.locator(".chip.term")).to_have_count(1)
    page.press("#q", "Backspace")
    expect(page.locator("#summary")).to_contain_text("newest first")


def test_a_photo_is_subtracted_with_a_key(screen: Screen) -> None:
    page = screen.open("?q=flower")
    page.locator(".tile .open").first.focus()
    name = _names(page)[0]
    page.keyboard.press("u")
    expect(page.locator(".chip.minus img")).to_be_visible()
    expect(page.locator(".tile .name").first).not_to_have_text(name)
    page.locator(".tile .open").first.focus()
    page.keyboard.press("a")
    expect(page.locator(".chip.plus img")).to_be_visible()


# -- filters -----------------------------------------------------------------------------------


def test_filters_narrow_down_and_are_chips(screen: Screen) -> None:
    page = screen.open()
    page.keyboard.press("f")
    page.get_by_role("button", name=re.compile("^flowers")).click()
    expect(page.locator("#summary")).to_have_text(f"{FLOWERS} photos, newest first")
    expect(page.locator(".chip")).to_have_text(["flowers"])
    page.get_by_role("button", name="Folders in trips").click()
    page.get_by_role("button", name=re.compile("^2022")).click()
    expect(page.locator("#summary")).to_have_text(f"{DATED} photos, newest first")
    page.get_by_text("Tall", exact=True).click()
    expect(page.locator("#summary")).to_have_text(f"{DATED // 2} photos, newest first")
    page.fill("#f-camera", "brownie")
    expect(page.locator(".chip")).to_have_text(["2022", "portrait", "brownie"])
    page.fill("#f-min_size", "9MP")
    expect(page.locator("#message h2")).to_have_text("No photo passes these filters")
    page.get_by_role("button", name="Clear the filters").click()
    expect(page.locator("#summary")).to_contain_text("newest first")
    assert page.locator(".chip").count() == 0
    page.locator(".tag").first.click()
    expect(page.locator(".chip")).to_have_count(1)
    page.locator(".chip").get_by_role("button", name="Remove").click()
    expect(page.locator(".chip")).to_have_count(0)


def test_only_matches_leaves_out_the_rest(screen: Screen) -> None:
    page = screen.open("?q=sunflower")
    page.keyboard.press("Tab")
    page.click("#show-filters")
    page.get_by_label("Only what matches better than chance").check()
    expect(page.locator("#summary")).to_have_text(re.compile(r"^\d+ matches$"))
    assert "weak" not in page.locator(".tile .small").all_inner_texts()
    best = _names(page)[0]
    page.fill("#q", "submarine")
    expect(page.locator("#message h2").or_(page.locator(".tile .name").first)).not_to_have_text(best)
    if page.locator("#message").is_visible():
        expect(page.locator("#message h2")).to_have_text("Nothing matches better than chance")
        page.get_by_role("button", name="Show the nearest anyway").click()
    expect(page.locator(".tile").first).to_be_visible()


def test_the_timeline_takes_clicks_drags_and_keys(screen: Screen) -> None:
    page = screen.open()
    page.click("#show-filters")
    bars = page.locator("#timeline button")
    expect(bars).to_have_count(5)  # November 2021 to March 2022, the empty ones too
    expect(bars.first).to_have_attribute("aria-label", "November 2021, 1 photo")
    expect(bars.nth(1)).to_have_attribute("aria-label", "December 2021, 0 photos")
    bars.nth(3).click()
    expect(page.locator("#summary")).to_have_text("4 photos, newest first")
    expect(page.locator(".chip")).to_have_text(["February 2022"])
    expect(page).to_have_url(re.compile("after=2022-02&before=2022-03"))
    bars.nth(2).hover()
    page.mouse.down()
    bars.nth(4).hover()
    page.mouse.up()
    expect(page.locator(".chip")).to_have_text(["January 2022 \u2013 March 2022"])
    expect(page.locator("#summary")).to_have_text(f"{DATED} photos, newest first")
    bars.nth(2).focus()
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    expect(page.locator(".chip")).to_have_text(["November 2021"])
    expect(bars.first).to_be_focused()
    page.keyboard.press("Shift+End")
    expect(page.locator(".chip")).to_have_text(["November 2021 \u2013 March 2022"])
    page.get_by_role("button", name="Any date").click()
    expect(page.locator(".chip")).to_have_count(0)
    page.fill("#f-after", "2022-03")
    expect(page.locator(".chip")).to_have_text(["since March 2022"])


def test_words_in_photos_and_captions_are_found_and_shown(screen: Screen) -> None:
    page = screen.open()
    page.keyboard.press("f")
    page.fill("#f-text", "invoice")
    expect(page.locator("#summary")).to_have_text("2 photos, best fit first")
    expect(page.locator(".chip")).to_have_text(["invoice"])
    page.fill("#f-text", "invoice 2023")
    expect(page.locator("#summary")).to_have_text("1 photo")
    page.click(".tile .open")
    expect(page.locator("#v-list")).to_contain_text("Captiona boxWords in itINVOICE 2023")
    page.keyboard.press("Escape")
    page.locator(".chip").get_by_role("button", name="Remove").click()
    expect(page.locator("#f-text")).to_have_value("")


# -- videos ------------------------------------------------------------------------------------


def test_a_video_is_the_moment_that_was_found_and_plays_from_there(screen: Screen, photos: Path) -> None:
    page = screen.open(f"?q=sunflower&in={photos}/films&glob=*.mp4")
    expect(page.locator(".badge")).to_have_text("0:03")
    page.click(".tile .open")
    expect(page.locator("#v-play")).to_have_text("Play from 0:03")
    expect(page.locator("#v-list")).to_contain_text("Moment0:03")
    playing = page.locator("#film")
    expect(playing).to_be_hidden()
    page.keyboard.press("v")
    expect(playing).to_be_visible()
    begun = playing.evaluate(
        """async (film) => {
            while (film.readyState < 2) await new Promise((done) => setTimeout(done, 20));
            return film.currentTime;
        }"""
    )
    assert begun == pytest.approx(3, abs=0.9)
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    assert playing.get_attribute("src") is None
    page = screen.open(f"?in={photos}/films&glob=*.avi")  # which browsers do not play
    page.click(".tile .open")
    page.click("#v-play")
    expect(page.locator(".toast")).to_contain_text("does not play this video")
    expect(page.locator("#large")).to_be_visible()


# -- duplicates --------------------------------------------------------------------------------


def test_duplicates_stand_side_by_side_and_their_copies_are_selected(screen: Screen, photos: Path) -> None:
    page = screen.open(f"?in={photos}/twice")
    page.keyboard.press("p")
    copies = page.locator(".copy")
    expect(page.locator(".group")).to_have_count(1)
    expect(copies.locator(".kind")).to_have_text(["Best", "Same bytes", "Same picture"])
    with Image.open(photos / "twice/small.jpg") as small:
        expect(copies.last).to_contain_text(f"{small.width} \u00d7 {small.height}, ")
    page.locator(".group").get_by_role("button", name="Select all but the best").click()
    expect(page.locator("#s-count")).to_have_text("2 selected")
    expect(copies.first).not_to_have_class(re.compile("selected"))
    page.click("#s-copy")
    expect(page.locator(".toast")).to_have_text("2 paths copied")
    names = [Path(path).name for path in page.evaluate("navigator.clipboard.readText()").splitlines()]
    assert names == copies.locator(".name").all_inner_texts()[1:]
    copies.first.locator(".open").focus()
    page.keyboard.press("ArrowRight")
    expect(copies.nth(1).locator(".open")).to_be_focused()
    page.keyboard.press("x")
    expect(page.locator("#s-count")).to_have_text("1 selected")
    page.keyboard.press("Enter")
    expect(page.locator("#v-position")).to_have_text("2 of 3")
    page.keyboard.press("Escape")
    expect(copies.nth(1).locator(".open")).to_be_focused()
    page.get_by_text("Same bytes", exact=True).first.click()
    expect(copies).to_have_count(2)
    expect(page).to_have_url(re.compile("view=duplicates.*copies=exact"))
    page.go_back()
    expect(copies).to_have_count(3)
    assert {path.name for path in (photos / "twice").iterdir()} == {"one.jpg", "other.jpg", "small.jpg"}
    page.keyboard.press("p")
    expect(page.locator("#duplicates")).to_be_hidden()
    expect(page.locator("#summary")).to_have_text("3 photos, newest first")
    page = screen.open(f"?view=duplicates&in={photos}/cars", ready=False)
    expect(page.locator("#message h2")).to_contain_text("there twice")


# -- classify ----------------------------------------------------------------------------------


def test_labels_sort_the_photos(screen: Screen, photos: Path) -> None:
    page = screen.open()
    page.keyboard.press("g")
    page.fill("#labels", "dog, flower, pizza, car")
    rows = page.locator(".label-row")
    expect(rows).to_have_count(4)
    counts = [int(re.match(r"\d+", text)[0]) for text in page.locator(".label-count").all_inner_texts()]  # type: ignore[index]
    assert sum(counts) == sum(1 for path in photos.rglob("*") if path.is_file())
    flowers = rows.nth(1)
    expect(flowers.locator(".thumb")).to_have_count(12)
    best = (flowers.locator(".thumb").first.get_attribute("aria-label") or "").partition(",")[0]
    assert (photos / "flowers" / best).exists()
    flowers.locator(".thumb").first.click()
    expect(page.locator("#v-name")).to_have_text(best)
    page.keyboard.press("ArrowRight")
    expect(page.locator("#v-position")).to_have_text("2 of 12")
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    flowers.locator(".label").click()
    expect(page.locator("#label-name")).to_have_text("flower")
    expect(page.locator("#summary")).to_have_text(f"{counts[1]} photos, the surest first")
    expect(page.locator(".tile .name").first).to_have_text(best)
    page.go_back()
    expect(rows).to_have_count(4)
    page.select_option("#sure", "0.95")
    expect(page.locator(".label-count").nth(1)).not_to_have_text(re.compile(f"^{counts[1]} "))
    page.keyboard.press("/")
    page.keyboard.type("dog")
    expect(page.locator("#classify")).to_be_hidden()
    expect(page.locator("#summary")).to_contain_text("match")


# -- selecting ---------------------------------------------------------------------------------


def test_photos_are_selected_and_taken_along(screen: Screen, photos: Path) -> None:
    page = screen.open(f"?in={photos}/flowers")
    page.hover(".tile")
    page.locator(".tile .check").first.click()
    page.locator(".tile .open").nth(3).click(modifiers=["Shift"])
    expect(page.locator("#s-count")).to_have_text("4 selected")
    names = _names(page)[:4]
    page.click("#s-copy")
    expect(page.locator(".toast")).to_have_text("4 paths copied")
    copied = page.evaluate("navigator.clipboard.readText()").splitlines()
    assert [Path(path) for path in copied] == [photos / "flowers" / name for name in names]
    page.click("#s-all")
    expect(page.locator("#s-count")).to_have_text(f"{FLOWERS} selected")
    with page.expect_download() as download:
        page.click("#s-archive")
    with zipfile.ZipFile(download.value.path()) as archive:
        packed = {Path(name).name: archive.read(name) for name in archive.namelist()}
    assert packed == {path.name: path.read_bytes() for path in (photos / "flowers").iterdir()}
    page.keyboard.press("Escape")
    expect(page.locator("#selection")).to_be_hidden()
    page.keyboard.press("Control+a")
    on_screen = page.locator(".tile.selected").count()
    assert 0 < on_screen <= FLOWERS
    page.locator(".tile .open").first.focus()
    page.keyboard.press("x")
    expect(page.locator(".tile.selected")).to_have_count(on_screen - 1)
    page.keyboard.press("Shift+ArrowRight")
    expect(page.locator(".tile").first).to_have_class(re.compile("selected"))


def test_lists_have_the_bytes_of_names_that_are_no_text(screen: Screen, photos: Path) -> None:
    page = screen.open(f"?in={photos}/odd")
    page.keyboard.press("Control+a")
    with page.expect_download() as download:
        page.click("#s-save")
    lines = Path(download.value.path()).read_bytes().splitlines()
    plain = {os.fsencode(path) for path in (photos / "odd").iterdir() if "\n" not in path.name}
    assert plain < set(lines)
    assert len(lines) == len(plain) + 1
    assert any(line.startswith(b"$'") and b"a\\x0ab" in line for line in lines)


def test_names_are_shown_and_never_run(screen: Screen, photos: Path) -> None:
    page = screen.open(f"?in={photos}/odd")
    shown = _names(page)
    assert HOSTILE in shown
    assert "a\u240ab\ufffdgpj.png" in shown
    page.locator(".tile", has_text="onerror").locator(".open").click()
    expect(page.locator("#v-name")).to_have_text(HOSTILE)
    assert page.locator("img[src=x]").count() == 0


# -- phones, light, motion, letters ------------------------------------------------------------


def _touch(page: Page, *steps: list[tuple[int, int]]) -> None:
    """Fingers that go down at the first step, move along, and go up."""
    fingers = page.context.new_cdp_session(page)
    for number, points in enumerate([*steps, []]):
        kind = "touchEnd" if not points else "touchMove" if number else "touchStart"
        fingers.send(
            "Input.dispatchTouchEvent",
            {
                "type": kind,
                "touchPoints": [{"x": x, "y": y, "id": finger} for finger, (x, y) in enumerate(points)],
            },
        )


def test_on_a_phone_all_fits_and_fingers_do_it(screen: Screen) -> None:
    page = screen.open(phone=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.fill("#q", "flower")
    page.press("#q", "Enter")
    expect(page.locator("#summary")).to_contain_text("match")
    page.tap("#show-filters")
    expect(page.locator("#filters")).to_be_in_viewport(ratio=1)
    page.tap("#filters-close")
    page.wait_for_selector(".tile.loaded")
    page.tap(".tile .open")
    expect(page.locator("#v-position")).to_contain_text("1 of")
    _touch(page, [(320, 450)], [(200, 452)], [(80, 455)])
    expect(page.locator("#v-position")).to_contain_text("2 of")
    _touch(page, [(80, 450)], [(320, 450)])
    expect(page.locator("#v-position")).to_contain_text("1 of")
    _touch(page, [(180, 450), (210, 450)], [(120, 450), (270, 450)], [(60, 450), (330, 450)])
    expect(page.locator("#stage")).to_have_class(re.compile("zoomed"))
    page.locator("#stage").dblclick()
    expect(page.locator("#stage")).not_to_have_class(re.compile("zoomed"))
    _touch(page, [(200, 350)], [(200, 450)], [(200, 600)])
    expect(page.locator("#viewer")).to_be_hidden()
    # Holding a photo selects it, touching another then opens that one as ever.
    box = page.locator(".tile").nth(1).bounding_box()
    fingers = page.context.new_cdp_session(page)
    point = {"x": box["x"] + 20, "y": box["y"] + 40}
    fingers.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [point]})
    expect(page.locator("#s-count")).to_have_text("1 selected")
    fingers.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    expect(page.locator("#viewer")).to_be_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def _lightness(page: Page) -> int:
    colors = re.findall(r"\d+", page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))
    return sum(map(int, colors[:3]))


def test_dark_and_light_follow_the_system_until_told_otherwise(screen: Screen) -> None:
    assert _lightness(screen.open()) > 700
    page = screen.open(dark=True)
    assert _lightness(page) < 100
    page.click("#theme")
    assert _lightness(page) > 700
    page.reload()
    assert _lightness(page) > 700


def test_less_motion_means_none(screen: Screen) -> None:
    page = screen.open(still=True)
    assert page.evaluate("getComputedStyle(document.querySelector('.tile img')).transitionDuration") == "0s"


def _fits(page: Page) -> bool:
    """Whether all is within the width of the window, once it is laid out."""
    fits: bool = page.evaluate(
        """async () => {
            const { documentElement: whole } = document;
            for (let left = 100; left && whole.scrollWidth > innerWidth; left -= 1) {
                await new Promise((done) => setTimeout(done, 20));
            }
            return whole.scrollWidth <= innerWidth;
        }"""
    )
    return fits


def test_letters_of_twice_the_size_fit(screen: Screen) -> None:
    page = screen.open("?q=flower")
    page.set_viewport_size({"width": 640, "height": 400})  # what is left of 1280 at 200 %
    assert _fits(page)
    page.evaluate("document.documentElement.style.fontSize = '200%'")
    assert _fits(page)
    expect(page.locator("#q")).to_be_visible()


def test_help_tells_the_keys(screen: Screen) -> None:
    page = screen.open()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Finding photos")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Finding photos")).to_be_hidden()


# -- when things go wrong ----------------------------------------------------------------------


def test_an_empty_library_says_how_to_begin(browser: Browser, tmp_path: Path) -> None:
    with _elsewhere(browser, tmp_path / "none") as screen:
        page = screen.open(ready=False)
        expect(page.get_by_role("heading", name="Nothing is indexed yet")).to_be_visible()
        expect(page.locator("#message")).to_contain_text("clipsearch index")
        assert _faults_of_access(page) == []
        screen.close()
    assert all(NOT_LOADED in fault for fault in screen.faults)


def test_a_photo_and_a_server_that_are_gone_are_said_to_be(browser: Browser, tmp_path: Path) -> None:
    for number, color in enumerate(((250, 0, 0), (0, 250, 0), (0, 0, 250))):
        paint(tmp_path / f"photos/{number}.png", color, size=(300, 200))
    clipsearch(tmp_path / "library", "index", str(tmp_path / "photos"))
    (tmp_path / "photos/1.png").unlink()
    with _elsewhere(browser, tmp_path / "library") as screen:
        page = screen.open()
        tile = page.locator(".tile.unreadable")
        expect(tile).to_contain_text("cannot be read")
        expect(tile.locator(".blank")).to_contain_text("1.png")
        tile.locator(".open").click()
        expect(page.locator(".v-broken")).to_be_visible()
        page.keyboard.press("Escape")
    page.fill("#q", "blue")
    expect(page.get_by_role("alert")).to_contain_text("clipsearch does not answer")
    expect(_tiles(page).first).to_be_visible()
    with serving(tmp_path / "library", urlsplit(page.url).port or 0):  # and waited for
        expect(page.get_by_role("alert")).to_be_hidden()
        expect(page.locator("#summary")).to_contain_text("match")
        screen.close()
    assert all(NOT_LOADED in fault for fault in screen.faults)


def test_a_picture_forgotten_by_the_server_is_said_so(screen: Screen) -> None:
    page = screen.open("?add=upload:0123456789abcdef", ready=False)
    expect(page.get_by_role("alert")).to_be_visible()
    page.locator(".chip").get_by_role("button", name="Remove").click()
    expect(_tiles(page).first).to_be_visible()
    assert all(NOT_LOADED in fault for fault in screen.faults)
    screen.faults.clear()


def test_what_makes_no_sense_is_said_in_place(screen: Screen) -> None:
    page = screen.open("?after=soon", ready=False)
    expect(page.get_by_role("alert")).to_contain_text("Not a date")
    assert all(NOT_LOADED in fault for fault in screen.faults)
    screen.faults.clear()


# -- for everybody -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phone", "dark"),
    [
        pytest.param(False, False, id="desk-light"),
        pytest.param(False, True, id="desk-dark"),
        pytest.param(True, False, id="phone-light"),
        pytest.param(True, True, id="phone-dark", marks=pytest.mark.slow),
    ],
)
def test_axe_finds_no_serious_fault(screen: Screen, *, dark: bool, phone: bool) -> None:
    faults: dict[str, Any] = {}
    found = partial(_faults_of_access, colors=dark)  # what differs in the dark are the colours
    page = screen.open("?q=flower&subtract=sunflower", dark=dark, phone=phone, still=True)
    page.click("#show-filters")
    page.wait_for_selector("#timeline button")
    faults["filters"] = found(page)
    if phone:
        page.click("#filters-close")
    page.locator(".tile .open").first.focus()
    page.keyboard.press("x")
    faults["selection"] = found(page)
    page.keyboard.press("Escape")
    page.locator(".tile .open").first.focus()
    if not phone:
        page.keyboard.press("m")
        faults["menu"] = found(page)
        page.keyboard.press("Escape")
    page.locator(".tile .open").first.click()
    page.wait_for_selector("#v-list dd", state="attached")
    page.keyboard.press("+")
    if phone:
        page.click("#v-facts")
    faults["viewer"] = found(page)
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    faults["help"] = found(page)
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.fill("#labels", "dog, flower")
    page.wait_for_selector(".label-row")
    faults["classify"] = found(page)
    page.keyboard.press("/")
    page.keyboard.press("Tab")
    page.click("#show-duplicates")
    page.locator(".group").get_by_role("button", name="Select all but the best").first.click()
    faults["duplicates"] = found(page)
    wrong = {name: those for name, those in faults.items() if those}
    assert not wrong, json.dumps(wrong, indent=1)


def test_the_whole_page_comes_from_the_server_itself(screen: Screen, address: str) -> None:
    page = screen.open()
    asked = page.evaluate("performance.getEntriesByType('resource').map(({name}) => name)")
    assert [one for one in asked if not one.startswith((address, "data:"))] == []
    headers = page.request.get(address).headers
    assert "default-src 'none'" in headers["content-security-policy"]


def test_pictures_are_asked_for_in_the_size_they_are_shown(screen: Screen) -> None:
    page = screen.open()
    sizes = page.evaluate(
        "[...document.querySelectorAll('.tile img')].map(({src}) => new URL(src).searchParams.get('size'))"
    )
    assert set(sizes) <= {"256", "512"}
    content = page.locator(".tile img").first.get_attribute("src") or ""
    picture = page.request.get(page.url + content)
    assert "immutable" in picture.headers["cache-control"]
    with Image.open(io.BytesIO(picture.body())) as opened:
        assert opened.format == "WEBP"
