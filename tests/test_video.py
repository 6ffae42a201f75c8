"""Videos: which frames are found, what a library keeps of them, and how a match tells the moment."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from camera_files import film
from mean_color import MODEL, MeanColor, paint
from older import age
from PIL import Image, ImageDraw
from serving import served

from clipsearch import Library, index_run
from clipsearch.catalog import checks
from clipsearch.catalog.catalog import FILE_NAME, Catalog
from clipsearch.catalog.frames import frame_hash
from clipsearch.catalog.models import count_missing
from clipsearch.catalog.salvage import salvage
from clipsearch.errors import PhotoError
from clipsearch.indexing import Indexer
from clipsearch.photos import video
from clipsearch.photos.guarded import Decoder
from clipsearch.questions import match_of, plain_match
from clipsearch.roots import plan
from clipsearch.types import IndexReport, Listeners, ModelSource, Preprocessing

if TYPE_CHECKING:
    from collections.abc import Iterator

WANTED = Preprocessing((32, 32), (0.0,) * 3, (1.0,) * 3, resize_mode="squash")
COLORS = {"red": (220, 20, 20), "green": (20, 220, 20), "blue": (20, 20, 220)}


def scene(color: str) -> Image.Image:
    """Mostly of one colour, with a darker corner: what is all one shade counts as blank."""
    picture = Image.new("RGB", (64, 48), COLORS[color])
    ImageDraw.Draw(picture).rectangle((0, 0, 20, 48), tuple(value // 3 for value in COLORS[color]))
    return picture


RGB = [scene(color) for color in COLORS]
BLACK = Image.new("RGB", (64, 48))


def strongest(pixels: Any) -> list[str]:
    """The colour of each of some pictures."""
    names = list(COLORS)
    return [names[int(np.asarray(one).reshape(-1, 3).mean(0).argmax())] for one in pixels]


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder() as made:
        yield made


# -- frames -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "libx264"),
        ("a.mov", "mpeg4"),
        ("a.mkv", "libx265"),
        ("a.avi", "mpeg4"),
        ("a.webm", "libvpx"),
        ("a.mpg", "mpeg2video"),
        ("a.flv", "flv"),
        ("a.wmv", "wmv2"),
        ("a.3gp", "libx264"),
    ],
)
def test_each_scene_gives_a_frame_and_its_time(
    decoder: Decoder, tmp_path: Path, name: str, codec: str
) -> None:
    path = os.fsencode(film(tmp_path / name, RGB, codec=codec, rate=25 if "mpeg2" in codec else 10))
    found = decoder.film(path, WANTED)
    assert strongest(found.pixels) == ["red", "green", "blue"]
    assert found.seconds == pytest.approx((0, 3, 6), abs=1.3)
    assert (found.width, found.height) == (64, 48)
    assert strongest([decoder.frame_at(path, seconds, at_least=None) for seconds in found.seconds]) == [
        "red",
        "green",
        "blue",
    ]
    assert strongest([decoder.frame_at(path, None, at_least=20)]) == ["red"]


@pytest.mark.parametrize("is_long", [False, True])
def test_a_scene_that_the_encoder_has_not_marked_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_long: bool
) -> None:
    if is_long:
        monkeypatch.setattr(video, "_CHEAP", 0)
    options = {"x264-params": "scenecut=0:keyint=infinite"}
    path = film(tmp_path / "a.mkv", RGB, each=11 if is_long else 3, codec="libx264", options=options)
    assert strongest(video.film(os.fsencode(path), WANTED).pixels) == ["red", "green", "blue"]


def test_frames_are_two_seconds_apart_and_those_of_a_long_video_further(tmp_path: Path) -> None:
    shades = [
        Image.fromarray(np.random.default_rng(n).integers(0, 256, (6, 8, 3), np.uint8)) for n in range(9)
    ]
    path = film(tmp_path / "a.avi", shades * 2, each=0.5, codec="mjpeg")  # each frame is a key frame
    seconds = video.film(os.fsencode(path), WANTED).seconds
    assert seconds == pytest.approx((0, 2, 4, 6, 8), abs=0.11)
    path = film(tmp_path / "long.avi", [*shades, *RGB] * 50, each=1, rate=1, codec="mjpeg")
    seconds = video.film(os.fsencode(path), WANTED).seconds
    assert 190 <= len(seconds) <= video.MOST_FRAMES
    assert min(np.diff(seconds)) >= 3


def test_black_frames_and_frames_like_the_one_before_are_left_out(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", [BLACK, RGB[0], RGB[0], BLACK, RGB[0], RGB[1]])
    found = video.film(os.fsencode(path), WANTED)
    assert strongest(found.pixels) == ["red", "green"]
    assert found.seconds == pytest.approx((3, 15), abs=1.3)
    assert strongest([video.frame_at(os.fsencode(path), None, None)]) == ["red"]
    black = film(tmp_path / "black.mp4", [BLACK])
    assert video.film(os.fsencode(black), WANTED).seconds == (0.0,)


def test_a_video_is_turned_upright(tmp_path: Path) -> None:
    half = Image.new("RGB", (64, 48), COLORS["blue"])
    half.paste(COLORS["red"], (0, 0, 32, 48))
    path = os.fsencode(film(tmp_path / "a.mp4", [half], rotation=90))
    found = video.film(path, WANTED)
    assert (found.width, found.height) == (48, 64)
    # Left comes to lie below when it is turned against the clock.
    assert strongest([found.pixels[0][:12], found.pixels[0][20:]]) == ["blue", "red"]
    assert video.frame_at(path, 0.0, None).size == (48, 64)


def test_the_container_tells_when_where_and_with_what(tmp_path: Path) -> None:
    said = {
        "com.apple.quicktime.creationdate": "2023-04-05T18:07:08+0200",
        "com.apple.quicktime.make": "Apple",
        "com.apple.quicktime.model": "iPhone 14",
        "com.apple.quicktime.location.ISO6709": "+48.1234-011.5678+500.0/",
    }
    found = video.film(os.fsencode(film(tmp_path / "a.mov", RGB, said=said)), WANTED).metadata
    assert found.taken is not None
    assert found.taken.isoformat() == "2023-04-05T18:07:08+02:00"
    assert found.camera == "Apple iPhone 14"
    assert found.place == (48.1234, -11.5678)
    path = film(tmp_path / "b.mp4", RGB, said={"creation_time": "2022-05-06T07:08:09Z"})
    assert video.film(os.fsencode(path), WANTED).metadata.taken == datetime(2022, 5, 6, 7, 8, 9, tzinfo=UTC)
    path = film(tmp_path / "c.mp4", RGB, said={"creation_time": "1904-01-01T00:00:00Z"})
    assert video.film(os.fsencode(path), WANTED).metadata.taken is None


# -- bad and hostile files --------------------------------------------------------------------------------


def reason(decoder: Decoder, path: Path) -> str:
    try:
        decoder.film(os.fsencode(path), WANTED)
    except PhotoError as error:
        return error.message
    return ""


def test_what_is_no_video_is_refused_with_a_reason(decoder: Decoder, tmp_path: Path) -> None:
    whole = film(tmp_path / "whole.mp4", RGB).read_bytes()
    sound = tmp_path / "sound.mp4"
    silence(sound)
    files = {
        "text.mp4": b"no video at all",
        "zeros.mov": bytes(5000),
        "half.mp4": whole[: len(whole) // 2],  # whose index stood at the end
        "picture.avi": b"\xff\xd8\xff" + bytes(100),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        said = reason(decoder, tmp_path / name)
        assert "video" in said, (name, said)
        assert str(tmp_path) not in said
        assert said.isprintable()
    assert reason(decoder, sound) == "no pictures in this video"


def silence(path: Path) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), "fltp", "mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_what_was_read_of_a_video_that_ends_early_counts(decoder: Decoder, tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", RGB, codec="mjpeg")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 5 // 9])
    assert strongest(decoder.film(os.fsencode(path), WANTED).pixels) == ["red", "green"]


@pytest.mark.parametrize("seed", range(6))
def test_a_video_with_flipped_bytes_crashes_nothing(decoder: Decoder, tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    path = film(tmp_path / ("a.mp4" if seed % 2 else "a.mkv"), RGB, codec="libx264")
    data = bytearray(path.read_bytes())
    for place in random.integers(0, len(data), 60):
        data[place] = int(random.integers(256))
    path.write_bytes(data)
    said = reason(decoder, path)
    assert "crashed" not in said
    assert "took more" not in said


def test_a_playlist_opens_no_other_file(decoder: Decoder, tmp_path: Path) -> None:
    film(tmp_path / "secret.ts.mp4", RGB)
    whole = (tmp_path / "secret.ts.mp4").as_uri()
    playlists = {
        "hls.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{whole}\n#EXT-X-ENDLIST\n",
        "concat.mkv": f"ffconcat version 1.0\nfile '{whole}'\n",
        "sdp.mov": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    }
    for name, text in playlists.items():
        (tmp_path / name).write_text(text)
        assert reason(decoder, tmp_path / name), name


def test_a_video_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", RGB)
    with Decoder(video_time_limit=0.05) as hasty:
        assert reason(hasty, path).startswith("decoding took more than")
        assert hasty.decode(paint(tmp_path / "a.png", (1, 2, 3)).read_bytes(), WANTED).width == 16


# -- the library ------------------------------------------------------------------------------------------


class Bench:
    """A folder of videos and a library, indexed with the mean-colour encoder."""

    def __init__(self, tmp_path: Path) -> None:
        self.photos = tmp_path / "photos"
        self.folder = tmp_path / "library"
        self.folder.mkdir()
        self.encoder = MeanColor()
        film(self.photos / "clip.mp4", RGB)
        paint(self.photos / "green.png", (1, 255, 1))

    def index(self, *, stop: Any = lambda: False) -> IndexReport:
        with Catalog(self.folder, write=True) as catalog:
            known = catalog.current_model()
            indexer = Indexer(catalog, known, lambda _: self.encoder, listeners=Listeners(), stop=stop)
            return indexer.run(plan(catalog, [self.photos], ()), retry_skipped=False)

    def catalog(self) -> Catalog:
        return Catalog(self.folder)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def frames(bench: Bench) -> list[tuple[int, int, float, int]]:
    with bench.catalog() as catalog:
        return catalog.rows("SELECT * FROM frame ORDER BY video, seconds")


def test_every_frame_is_embedded_once_and_copies_share_them(bench: Bench) -> None:
    report = bench.index()
    assert (report.new, report.embedded, report.frames, bench.encoder.embedded) == (2, 2, 2, 4)
    assert [(round(seconds), total) for _, _, seconds, total in frames(bench)] == [(0, 3), (3, 3), (6, 3)]
    shutil.copy(bench.photos / "clip.mp4", bench.photos / "copy.mp4")
    (bench.photos / "clip.mp4").rename(bench.photos / "moved.mp4")
    report = bench.index()
    assert (report.moved, report.copied, report.embedded, report.frames) == (1, 1, 0, 0)
    assert bench.encoder.embedded == 4
    assert len(frames(bench)) == 3
    assert bench.index().unchanged == 3


def test_another_model_embeds_the_frames_that_there_are(bench: Bench) -> None:
    bench.index()
    before = frames(bench)
    large = replace(MODEL.preprocessing, size=(64, 64))
    other = MeanColor(replace(MODEL, source=ModelSource("other"), fingerprint="c0106", preprocessing=large))
    run = index_run.refresh(
        bench.folder,
        lambda catalog: plan(catalog, (), ()),
        lambda *_: other,
        wanted=other.model.source,
        retry_skipped=False,
        listeners=Listeners(),
        stop=lambda: False,
    )
    assert (run.report.unchanged, run.report.embedded, run.report.frames) == (2, 2, 2)
    assert frames(bench) == before
    with bench.catalog() as catalog:
        assert [catalog.count_embeddings(key) for key in (1, 2)] == [4, 4]
        assert [count_missing(catalog, key) for key in (1, 2)] == [0, 0]


def test_frames_that_are_known_are_taken_again_if_they_are_all_there(tmp_path: Path) -> None:
    path = os.fsencode(film(tmp_path / "a.mp4", RGB))
    whole = video.film(path, WANTED)
    with Decoder() as decoder:
        part = decoder.film(path, WANTED, whole.seconds[1:])
        other = decoder.film(path, WANTED, (0.0, 1.234))
    assert part.seconds == whole.seconds[1:]
    assert np.array_equal(part.pixels, whole.pixels[1:])
    assert other.seconds == whole.seconds


def test_frames_go_with_the_last_copy_of_their_video(bench: Bench) -> None:
    bench.index()
    shutil.copy(bench.photos / "clip.mp4", bench.photos / "copy.mp4")
    (bench.photos / "clip.mp4").unlink()
    bench.index()
    with Catalog(bench.folder, write=True) as catalog:
        catalog.drop_orphans()
        assert catalog.count_embeddings(1) == 4
        assert catalog.count_contents(living=False) == 0
    (bench.photos / "copy.mp4").unlink()
    bench.index()
    with Catalog(bench.folder, write=True) as catalog:
        assert catalog.count_contents(living=False) == 3
        catalog.drop_orphans()
        assert catalog.count_embeddings(1) == 1
        assert catalog.rows("SELECT count(*) FROM frame") == [(0,)]
        catalog.remove_root(1)
        assert catalog.rows("SELECT count(*) FROM content") == [(0,)]


def test_a_video_that_changed_while_it_was_read_is_tried_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, whole = bench.photos / "clip.mp4", Decoder.film

    def changing(self: Decoder, name: bytes, preprocessing: Preprocessing, at: Any) -> Any:
        found = whole(self, name, preprocessing, at)
        os.utime(path, (1, 1))
        return found

    monkeypatch.setattr(Decoder, "film", changing)
    assert bench.index().skipped == 1
    monkeypatch.undo()
    assert bench.index().new == 1


def test_a_lost_frame_is_noticed_and_made_again(bench: Bench) -> None:
    bench.index()
    with Catalog(bench.folder, write=True) as catalog:
        lost = catalog.content_of(frame_hash(digest(bench.photos / "clip.mp4"), frames(bench)[2][2]))
        catalog.connection.execute("DELETE FROM embedding WHERE content = ?", (lost,))
        assert checks.without_embedding(catalog, 1) == 1
        assert checks.read_again(catalog, 1) == 1
    report = bench.index()
    assert (report.unchanged, report.embedded, report.frames) == (2, 0, 2)
    with bench.catalog() as catalog:
        assert checks.without_embedding(catalog, 1) == 0
        assert catalog.count_embeddings(1) == 4
        assert not checks.unsound_rows(catalog)


def digest(path: Path) -> bytes:
    import hashlib

    return hashlib.sha256(path.read_bytes()).digest()


def test_what_is_saved_of_a_damaged_library_has_its_frames(bench: Bench) -> None:
    bench.index()
    salvage(bench.folder)
    report = bench.index()
    assert (report.unchanged, report.embedded, report.frames) == (2, 0, 0)
    assert len(frames(bench)) == 3


def test_a_library_of_the_first_format_takes_videos_in(bench: Bench) -> None:
    hidden = (bench.photos / "clip.mp4").rename(bench.photos.parent / "clip.mp4")
    bench.index()
    age(bench.folder / FILE_NAME)
    hidden.rename(bench.photos / "clip.mp4")
    report = bench.index()
    assert (report.new, report.embedded, report.frames) == (1, 1, 2)


KILLED = """
import os, sys, threading, time
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_video import Bench
bench = Bench.__new__(Bench)
bench.photos, bench.folder = Path({photos!r}), Path({folder!r})
bench.encoder = __import__("mean_color").MeanColor()
threading.Thread(target=lambda: (time.sleep(float(sys.argv[1])), os._exit(9)), daemon=True).start()
bench.index()
"""


@pytest.mark.slow
def test_killed_anywhere_a_video_is_there_with_all_its_frames_or_not_at_all(bench: Bench) -> None:
    for number in range(6):
        film(bench.photos / f"{number}.mp4", RGB[number % 3 :] + RGB[: number % 3], each=2.5 + number / 4)
    tests = str(Path(__file__).parent)
    program = KILLED.format(tests=tests, photos=str(bench.photos), folder=str(bench.folder))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([tests, str(Path(__file__).parents[1])])}
    codes = set()
    for moment in np.linspace(0.3, 4, 15):
        done = subprocess.run([sys.executable, "-c", program, str(moment)], env=environment, check=False)
        codes.add(done.returncode)
        if (bench.folder / FILE_NAME).exists():
            with Catalog(bench.folder, write=True) as catalog:
                assert not checks.unsound_rows(catalog)
                if catalog.current_model():
                    assert checks.without_embedding(catalog, 1) == 0
    assert 9 in codes
    bench.index()
    with bench.catalog() as catalog:
        assert catalog.rows("SELECT count(*), count(DISTINCT video) FROM frame") == [(21, 7)]


# -- on the command line ----------------------------------------------------------------------------------


@pytest.fixture
def home(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    import program

    program.install(monkeypatch.setattr)
    monkeypatch.setenv("CLIPSEARCH_LIBRARY", str(bench.folder))
    bench.index()
    return bench


def said(capsysbinary: pytest.CaptureFixture[bytes], *words: object) -> tuple[str, str]:
    from clipsearch.cli import main

    code = main([str(word) for word in words])
    out, err = capsysbinary.readouterr()
    assert code == 0, err
    return out.decode(), err.decode()


def test_a_match_tells_the_best_moment_of_a_video_once(
    home: Bench, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    clip = str(home.photos / "clip.mp4")
    out, _ = said(capsysbinary, "search", "blue", "--format", "json")
    best, other = json.loads(out)
    assert (best["path"], other["path"]) == (clip, str(home.photos / "green.png"))
    assert best["seconds"] == pytest.approx(6, abs=0.5)
    assert other["seconds"] is None
    assert best["score"] > 0.9
    out, _ = said(capsysbinary, "search", "green", "--glob", "*.mp4")
    assert out.splitlines()[0].split("\t")[-2:] == [clip, "@ 0:03"]
    assert len(out.splitlines()) == 1
    out, _ = said(capsysbinary, "search", "blue", "-n", "1", "--format", "csv")
    header, row = (line.split(",") for line in out.splitlines())
    assert float(row[header.index("seconds")]) == best["seconds"]
    out, _ = said(capsysbinary, "search", "blue", "-0")
    assert out.split("\0") == [clip, str(home.photos / "green.png"), ""]


def test_a_video_may_be_the_question(home: Bench, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    clip = home.photos / "clip.mp4"
    out, _ = said(capsysbinary, "similar", clip, "--format", "paths")
    assert out.split() == [str(home.photos / "green.png")]
    out, _ = said(capsysbinary, "similar", clip, "--include-self", "-n", "1", "--format", "json")
    assert json.loads(out)[0]["seconds"] == 0
    elsewhere = film(home.folder.parent / "new.mp4", [RGB[2]])
    out, _ = said(capsysbinary, "similar", elsewhere, "-n", "1", "--format", "json")
    assert json.loads(out)[0]["seconds"] == pytest.approx(6, abs=0.5)


def test_other_commands_take_a_video_as_one_file(
    home: Bench, capsysbinary: pytest.CaptureFixture[bytes], tmp_path: Path
) -> None:
    clip = home.photos / "clip.mp4"
    out, _ = said(capsysbinary, "export")
    assert len(out.splitlines()) == 3
    out, _ = said(capsysbinary, "classify", "--labels", "red,green,blue", "--format", "json")
    assert {Path(one["path"]).name: one["label"] for one in json.loads(out)} == {
        "clip.mp4": "red",
        "green.png": "green",
    }
    said(capsysbinary, "search", "blue", "--copy-to", tmp_path / "found")
    assert (tmp_path / "found" / "clip.mp4").read_bytes() == clip.read_bytes()
    shutil.copy(clip, home.photos / "copy.mp4")
    said(capsysbinary, "index")
    out, _ = said(capsysbinary, "duplicates", "--format", "json")
    assert [(one["kind"], Path(one["path"]).name) for one in json.loads(out)] == [
        ("best", "clip.mp4"),
        ("exact", "copy.mp4"),
    ]
    with Library.open() as library:
        parts = {finding.part for finding in library.examine().findings}
    assert not parts & {"catalog", "photos", "vectors"}
    out, _ = said(capsysbinary, "status", "--json")
    assert (json.loads(out)["photos"], json.loads(out)["videos"]) == (3, 2)
    out, _ = said(capsysbinary, "forget", home.photos)
    with home.catalog() as catalog:
        assert catalog.rows("SELECT count(*) FROM content") == [(0,)]


def test_page_and_sheet_show_the_frame_that_was_found(
    home: Bench, capsysbinary: pytest.CaptureFixture[bytes], tmp_path: Path
) -> None:
    said(
        capsysbinary,
        "search",
        "blue",
        "-n",
        "1",
        "--html",
        tmp_path / "a.html",
        "--sheet",
        tmp_path / "a.png",
    )
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "clip.mp4 @ 0:06" in page
    assert f"{(home.photos / 'clip.mp4').as_uri()}#t=6" in page
    with Image.open(tmp_path / "a.png") as sheet:
        assert strongest([np.asarray(sheet.convert("RGB"))[100:200, 100:240]]) == ["blue"]


def test_in_the_browser_a_video_is_the_frame_that_was_found(home: Bench) -> None:
    with Library.open(home.folder) as library, served(library) as client:
        found = {}
        for color in COLORS:
            best = client.get("/api/search", params={"q": color, "glob": "*.mp4"}).json()[0]
            place = f"/api/photos/{best['id']}/thumbnail"
            answer = client.get(place, params={"size": 256, "v": best["content"]})
            assert "immutable" in answer.headers["cache-control"]
            found[color] = best["seconds"]
            for again in (answer, client.get(place, params={"size": 256, "v": best["content"]})):
                with Image.open(io.BytesIO(again.content)) as picture:
                    assert strongest([picture.convert("RGB")]) == [color]
        assert list(found.values()) == sorted(set(found.values()))
        with Image.open(io.BytesIO(client.get(place).content)) as picture:
            assert strongest([picture.convert("RGB")]) == ["red"], "the first, where none is named"
        original = f"/api/photos/{best['id']}/original"
        part = client.get(original, headers={"Range": "bytes=4-7"})
        assert (part.status_code, part.content, part.headers["content-type"]) == (206, b"ftyp", "video/mp4")
        assert part.headers["content-disposition"].startswith("inline")
        # Browsers play what they open themselves only where the page's policy lets them.
        assert "media-src 'self'" in part.headers["content-security-policy"]
        film(home.photos / "clip.mp4", [RGB[1]])
        changed = client.get(place, params={"size": 512, "v": best["content"]})
        assert changed.headers["cache-control"] == "no-store"
        (home.photos / "clip.mp4").write_bytes(b"<html><script>x</script>")
        page = client.get(original)
        assert page.headers["content-type"] == "video/mp4", "whatever is in it, it is never a page"
        assert page.headers["x-content-type-options"] == "nosniff"
        assert client.get(place, params={"size": 2048}).status_code == 404


def test_a_moment_crosses_to_the_command_that_asks(home: Bench) -> None:
    with Library.open(home.folder) as library:
        (best,) = library.search("blue", limit=1)
    assert best.photo.seconds == pytest.approx(6, abs=0.5)
    assert match_of(json.loads(json.dumps(plain_match(best)))) == best


def test_tables_have_no_videos_and_say_so(home: Bench) -> None:
    told: list[str] = []
    with Library.open(home.folder, listeners=Listeners(notice=told.append)) as library:
        rows = [row.path for part, _ in library.rows() for row in part]
        assert rows == [str(home.photos / "green.png")]
        assert told == ["1 video left out: such tables hold pictures"]


@pytest.mark.skipif(sys.platform == "win32", reason="a player that is a script")
def test_open_begins_at_the_moment_where_a_player_can(
    home: Bench, capsysbinary: pytest.CaptureFixture[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs, told = tmp_path / "bin", tmp_path / "told"
    programs.mkdir()
    for name in ("vlc", "xdg-open", "open"):
        (programs / name).write_text(
            f'#!/bin/sh\nprintf "%s\\n" {name} "$@" > {told}.part; mv {told}.part {told}\n'
        )
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}/bin{os.pathsep}/usr/bin")
    said(capsysbinary, "search", "blue", "-n", "1", "--open")
    player, option, file = awaited(told)
    assert (player, file) == ("vlc", str(home.photos / "clip.mp4"))
    assert float(option.removeprefix("--start-time=")) == pytest.approx(6, abs=0.5)
    told.unlink()
    (programs / "vlc").unlink()
    said(capsysbinary, "search", "blue", "-n", "1", "--open")
    assert awaited(told)[1:] == [str(home.photos / "clip.mp4")]


def awaited(file: Path) -> list[str]:
    deadline = time.monotonic() + 10
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return file.read_text().splitlines()
