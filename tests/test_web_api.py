"""The API over real sockets: every endpoint against the library and the command line's JSON."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import pytest
from mean_color import paint
from PIL import Image
from program import install
from serving import served
from written import write

from clipsearch import Library
from clipsearch.catalog.catalog import Catalog
from clipsearch.catalog.tags import record_tags
from clipsearch.cli import main
from clipsearch.thumbnails import FOLDER, everything
from clipsearch.web import schemas

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx
    from pydantic import BaseModel

Capture = pytest.CaptureFixture[str]
ODD = os.fsdecode("zwölf 🐕\nx".encode() + b"\xff.png")
COLORS = {
    "red.png": (250, 0, 0),
    "rot/rosa.png": (250, 60, 60),
    "green.png": (0, 250, 0),
    f"blü/{ODD}": (0, 0, 250),
    "blue.png": (10, 10, 250),
}


class Home(NamedTuple):
    """Photos, their library, and a client of the server that serves it."""

    photos: Path
    library: Path
    client: httpx.Client

    def get(self, path: str, **parameters: Any) -> Any:
        answer = self.client.get(f"/api/{path}", params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    folder = tmp_path_factory.mktemp("web")
    for name, color in COLORS.items():
        paint(folder / "photos" / name, color)
    shutil.copy(folder / "photos/red.png", folder / "photos/copy.png")
    turned = Image.new("RGB", (900, 600), (250, 0, 0))
    turned.paste((0, 250, 0), (0, 0, 450, 600))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    exif[0x9003] = exif[0x0132] = "2023:05:17 18:30:00"
    exif[0x010F], exif[0x0110] = "Nikon", "Nikon Z 6"
    turned.save(folder / "photos/turned.jpg", exif=exif)
    with pytest.MonkeyPatch.context() as patch:
        install(patch.setattr)
        patch.setenv("CLIPSEARCH_CACHE", str(folder / "cache"))
        with Library.open(folder / "library") as library:
            library.index([folder / "photos"])
            write(library.path, "caption", {"green.png": "a fox, a fox", "turned.jpg": "One Fox in a meadow"})
            with served(library) as client:
                yield Home(folder / "photos", folder / "library", client)


@pytest.fixture(autouse=True)
def _same_cache(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(home.library.parent / "cache"))


def told(capsys: Capture, home: Home, *arguments: str) -> Any:
    """What the command says in JSON."""
    capsys.readouterr()
    assert main([*arguments, "--library", str(home.library)]) == 0
    return json.loads(capsys.readouterr().out)


def plain(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Records without what only the API has."""
    return [{key: value for key, value in one.items() if key not in {"id", "content"}} for one in records]


def check(model: type[BaseModel], records: list[Any]) -> None:
    for record in records:
        model.model_validate(record)


SEARCHES: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
    ("a text", {"q": "red"}, ("search", "red")),
    ("a weight, and terms", {"q": "2:red", "add": "blue"}, ("search", "2:red", "--add", "blue")),
    ("less of one", {"q": "red", "subtract": "0.5:blue"}, ("search", "red", "--subtract", "0.5:blue")),
    ("few", {"q": "green", "limit": 2}, ("search", "green", "-n", "2")),
    ("a bound", {"q": "green", "min_score": 0.9}, ("search", "green", "--min-score", "0.9")),
    ("a filter", {"q": "red", "glob": "*.jpg"}, ("search", "red", "--glob", "*.jpg")),
    ("a filter alone", {"on": "2023-05"}, ("search", "--on", "2023-05")),
    ("words", {"text": "fox"}, ("search", "--text", "fox")),
    ("a text within words", {"q": "red", "text": "fox"}, ("search", "red", "--text", "fox")),
    ("a shape", {"shape": "portrait"}, ("search", "--portrait")),
    ("a camera", {"camera": "nikon", "min_size": "600x900"}, ("search", "--camera", "nikon")),
]


@pytest.mark.parametrize(
    ("parameters", "command"), [one[1:] for one in SEARCHES], ids=[one[0] for one in SEARCHES]
)
def test_search_is_what_the_command_says(
    home: Home, capsys: Capture, parameters: dict[str, Any], command: tuple[str, ...]
) -> None:
    found = home.get("search", **parameters)
    check(schemas.MatchRecord, found)
    assert found
    assert plain(found) == told(capsys, home, *command, "--format", "json")


def test_filters_by_folder_take_any_name(home: Home) -> None:
    folder = os.fsencode(home.photos / "blü")
    answer = home.client.get(f"/api/search?in={quote(folder)}")
    assert [one["path"] for one in answer.json()] == [str(home.photos / "blü" / ODD)]
    inside = home.client.get(f"/api/folders?in={quote(os.fsencode(home.photos))}").json()
    assert [(one["name"], one["photos"]) for one in inside] == [("blü", 1), ("rot", 1)]
    assert home.client.get("/api/search", params={"in": "blü"}).status_code == 400


def test_pages_are_the_whole_in_parts(home: Home) -> None:
    for parameters in ({"q": "red"}, {}):
        whole = home.get("search", limit=1000, **parameters)
        pages = [home.get("search", limit=3, offset=start, **parameters) for start in (0, 3, 6, 9)]
        assert [len(page) for page in pages] == [3, 3, 1, 0]
        assert list(chain(*pages)) == whole
        assert [one["rank"] for one in whole] == [1, 2, 3, 4, 5, 6, 7]


def test_without_words_the_newest_come_first(home: Home) -> None:
    found = home.get("search")
    check(schemas.MatchRecord, found)
    assert found[0]["path"] == str(home.photos / "turned.jpg")
    assert {one["score"] for one in found} == {None}


def identified(home: Home, name: str) -> dict[str, Any]:
    """The record of a photo."""
    return next(one for one in home.get("search", limit=1000) if one["path"] == str(home.photos / name))


def test_similar_is_what_the_command_says(home: Home, capsys: Capture) -> None:
    red = identified(home, "red.png")
    found = home.get(f"photos/{red['id']}/similar")
    assert plain(found) == told(capsys, home, "similar", str(home.photos / "red.png"), "--format", "json")
    assert red["content"] not in {one["content"] for one in found}, "neither itself nor its copy"
    found = home.get(f"photos/{red['id']}/similar", include_self=True, add="0.5:blue", limit=3)
    options = ("--include-self", "--add", "0.5:blue", "-n", "3", "--format", "json")
    assert plain(found) == told(capsys, home, "similar", str(home.photos / "red.png"), *options)


def test_only_matches(home: Home, capsys: Capture) -> None:
    red = identified(home, "red.png")
    found = home.get(f"photos/{red['id']}/similar", only_matches=True, include_self=True)
    assert {one["strength"] for one in found} <= {"strong", "fair"}
    options = ("--only-matches", "--include-self", "--format", "json")
    assert plain(found) == told(capsys, home, "similar", str(home.photos / "red.png"), *options)


def test_photos_and_uploads_are_terms(home: Home, capsys: Capture) -> None:
    blue, path = identified(home, "blue.png"), home.photos / "blue.png"
    expected = told(capsys, home, "search", "red", "--add", f"2:{path}", "--format", "json")
    assert plain(home.get("search", q="red", add=f"2:photo:{blue['id']}")) == expected
    as_form = home.client.post("/api/pictures", files={"file": path.read_bytes()}).json()
    as_bytes = home.client.post("/api/pictures", content=path.read_bytes()).json()
    assert as_form == as_bytes
    check(schemas.UploadRecord, [as_form])
    by_upload = plain(home.get("search", q=as_form["id"]))
    by_photo = plain(home.get("search", q=f"photo:{blue['id']}"))
    assert [one["path"] for one in by_upload] == [one["path"] for one in by_photo]
    assert by_upload[0]["score"] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    "word", ["upload:00ff", "photo:99999", "photo:9223372036854775808", "@nobody", "0:red"]
)
def test_terms_that_mean_nothing_are_refused(home: Home, word: str) -> None:
    answer = home.client.get("/api/search", params={"q": word})
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert answer.json()["hint"]


def test_details_of_a_photo(home: Home) -> None:
    record = identified(home, "turned.jpg")
    details = home.get(f"photos/{record['id']}")
    check(schemas.PhotoDetailsRecord, [details])
    assert details.items() >= {key: value for key, value in record.items() if key in details}.items()
    assert details["content"] == hashlib.sha256((home.photos / "turned.jpg").read_bytes()).hexdigest()[:20]
    assert (details["width"], details["height"], details["camera"]) == (600, 900, "Nikon Z 6")
    assert (details["caption"], details["words"]) == ("One Fox in a meadow", None)
    assert (details["root"], details["folder"]) == (str(home.photos), str(home.photos))


def test_what_there_is_is_what_the_library_says(home: Home, capsys: Capture) -> None:
    status = home.get("status")
    check(schemas.StatusRecord, [status])
    said = told(capsys, home, "status", "--json")
    assert status == {**said, "catalog_bytes": status["catalog_bytes"]}  # its log comes and goes
    months = home.get("months")
    check(schemas.MonthRecord, months)
    assert months == [{"month": "2023-05", "photos": 1}, {"month": None, "photos": 6}]
    folders = home.get("folders")
    check(schemas.FolderRecord, folders)
    assert folders == [{"path": str(home.photos), "name": "photos", "photos": 7}]
    assert home.get("tags") == home.get("concepts") == []


def test_tags_and_concepts(home: Home, capsys: Capture) -> None:
    with Library.open(home.library) as library:
        library.learn("warm", [home.photos / "red.png", home.photos / "rot"])
        red = library.photo(identified(home, "red.png")["id"])
        with Catalog(home.library, write=True) as catalog:
            record_tags(
                catalog, catalog.current_model()[0], [red.content], [[("colour", 0.9), ("wall", 0.6)]]
            )
        expected = library.tags()
        assert expected == [("colour", 2), ("wall", 2)]
    assert home.get(f"photos/{red.id}")["tags"] == ["colour", "wall"]
    assert {one["content"] for one in home.get("search", tag=["wall", "colour"])} == {
        identified(home, "red.png")["content"]
    }
    assert home.get("tags") == [{"tag": name, "photos": photos} for name, photos in expected]
    check(schemas.TagRecord, home.get("tags"))
    found = home.get("concepts")
    check(schemas.ConceptRecord, found)
    assert found == told(capsys, home, "concept", "list", "--json")
    assert plain(home.get("search", q="@warm")) == told(capsys, home, "search", "@warm", "--format", "json")
    with Library.open(home.library) as library:
        library.forget_concept("warm")
        library.forget_tags()


def test_classify_is_what_the_command_says(home: Home, capsys: Capture) -> None:
    asked = {"label": ["red", "green", "blue"], "template": ["a {}"], "glob": "*.png"}
    found = home.get("classify", **asked)
    check(schemas.PredictionRecord, found)
    options = ("--labels", "red,green,blue", "--template", "a {}", "--glob", "*.png", "--format", "json")
    assert plain(found) == told(capsys, home, "classify", *options)
    assert [home.get(f"photos/{one['id']}")["path"] for one in found] == [one["path"] for one in found]
    summary = home.get("classify/summary", top=2, **asked)
    check(schemas.LabelRecord, summary)
    assert [one["label"] for one in summary] == asked["label"]
    for label in summary:
        having = [one for one in found if one["label"] == label["label"]]
        assert label["photos"] == len(having)
        best = sorted(having, key=lambda one: -one["probability"])[:2]
        assert [one["id"] for one in label["surest"]] == [one["id"] for one in best]
    sure = home.get("classify", min_prob=0.99, **asked)
    assert sure == [one for one in found if one["probability"] >= 0.99]
    assert home.client.get("/api/classify", params={"label": ["red", "red"]}).status_code == 400
    assert home.client.get("/api/classify").status_code == 400


def test_duplicates_are_what_the_command_says(home: Home, capsys: Capture) -> None:
    found = home.get("duplicates", similar=False)
    check(schemas.DuplicateRecord, found)
    assert plain(found) == told(capsys, home, "duplicates", "--exact", "--format", "json")
    assert {Path(one["path"]).name for one in found} == {"red.png", "copy.png"}
    assert home.client.get("/api/duplicates", params={"exact": 0, "similar": 0}).status_code == 400


def test_a_thumbnail_is_upright_small_and_made_once(home: Home) -> None:
    turned = identified(home, "turned.jpg")
    place = f"/api/photos/{turned['id']}/thumbnail"
    answer = home.client.get(place, params={"size": 256})
    assert answer.headers["content-type"] == "image/webp"
    picture = Image.open(io.BytesIO(answer.content)).convert("RGB")
    assert picture.size == (171, 256)
    top, bottom = picture.getpixel((85, 40)), picture.getpixel((85, 216))
    assert top[1] - top[0] > 100, "what was left is up now"
    assert bottom[0] - bottom[1] > 100
    (stored,) = [one.path for one in everything(home.library) if one.path.name.endswith("-256.webp")]
    assert stored.parent.parent == home.library / FOLDER
    assert stored.name.startswith(turned["content"])
    before = stored.stat().st_mtime_ns
    again = home.client.get(place, params={"size": 256, "v": turned["content"]})
    assert again.content == answer.content
    assert stored.stat().st_mtime_ns == before
    assert "immutable" in again.headers["cache-control"]
    assert "immutable" not in answer.headers["cache-control"]
    tag = answer.headers["etag"]
    known = home.client.get(place, params={"size": 256}, headers={"If-None-Match": tag})
    assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", tag)
    if os.name == "posix":
        folders = [home.library / FOLDER, stored.parent]
        assert [path.stat().st_mode & 0o777 for path in (*folders, stored)] == [0o700, 0o700, 0o600]


def test_a_thumbnail_is_never_enlarged(home: Home) -> None:
    red = identified(home, "red.png")
    answer = home.client.get(f"/api/photos/{red['id']}/thumbnail", params={"size": 2048})
    assert Image.open(io.BytesIO(answer.content)).size == (16, 12)
    assert home.client.get(f"/api/photos/{red['id']}/thumbnail?size=300").status_code == 422


def test_an_original_is_the_file_whole_or_in_part(home: Home) -> None:
    turned, data = identified(home, "turned.jpg"), (home.photos / "turned.jpg").read_bytes()
    place = f"/api/photos/{turned['id']}/original"
    answer = home.client.get(place)
    assert (answer.content, answer.headers["content-type"]) == (data, "image/jpeg")
    assert answer.headers["content-disposition"].startswith("inline")
    size = len(data)
    for asked, expected in {
        "bytes=0-99": data[:100],
        "bytes=100-": data[100:],
        "bytes=-7": data[-7:],
        f"bytes=5-{size + 9}": data[5:],
    }.items():
        part = home.client.get(place, headers={"Range": asked})
        assert (part.status_code, part.content) == (206, expected)
        start = data.find(expected)
        assert part.headers["content-range"] == f"bytes {start}-{start + len(expected) - 1}/{size}"
    beyond = home.client.get(place, headers={"Range": f"bytes={size}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    tag, moment = answer.headers["etag"], answer.headers["last-modified"]
    for known in ({"If-None-Match": f'"x", W/{tag}'}, {"If-None-Match": "*"}, {"If-Modified-Since": moment}):
        same = home.client.get(place, headers=known)
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    for other in ({"If-None-Match": '"x"', "If-Modified-Since": moment}, {"If-Modified-Since": "soon"}):
        assert home.client.get(place, headers=other).content == data
    for fits, status in ((tag, 206), (moment, 206), ('"x"', 200)):
        assert home.client.get(place, headers={"Range": "bytes=0-9", "If-Range": fits}).status_code == status
    odd = home.get("search", glob="zw*")[0]
    saved = home.client.get(f"/api/photos/{odd['id']}/original", params={"download": 1})
    assert saved.headers["content-disposition"] == f"attachment; filename*=UTF-8''{quote(os.fsencode(ODD))}"


@pytest.mark.parametrize("what", ["original", "thumbnail", "thumbnail?size=256", ""])
def test_head_tells_what_get_would_send(home: Home, what: str) -> None:
    place = f"/api/photos/{identified(home, 'turned.jpg')['id']}/{what}".rstrip("/")
    head, get = home.client.head(place), home.client.get(place)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-length", "content-type", "etag", "cache-control", "last-modified"):
        assert head.headers.get(name) == get.headers.get(name)


def test_an_archive_has_all_files_under_names_of_their_own(home: Home) -> None:
    everyone = home.get("search", limit=1000)
    ids = [one["id"] for one in everyone]
    as_json = home.client.post("/api/archive", json={"ids": [*ids, ids[0]]})
    as_form = home.client.post("/api/archive", data={"ids": ids})
    for answer in (as_json, as_form):
        assert answer.headers["content-type"] == "application/zip"
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            assert archive.testzip() is None
            names = archive.namelist()
            packed = [archive.read(name) for name in names]
        assert packed == [os.fsencode(one["path"]) and Path(one["path"]).read_bytes() for one in everyone]
        assert len({name.casefold() for name in names}) == len(ids)
        assert not any(set(name) & set("/\\\n") for name in names)
    for wrong in ({"ids": []}, {"ids": list(range(1, 1002))}, {"ids": ["x"]}, {"ids": [1.5]}, [1]):
        assert home.client.post("/api/archive", json=wrong).status_code == 400
    assert home.client.post("/api/archive", json={"ids": [10**6]}).status_code == 404


def test_the_page_and_the_description_are_there(home: Home) -> None:
    page = home.client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    described = home.client.get("/api/openapi.json").json()
    assert described["servers"] == [{"url": "/api"}]
    assert len(described["paths"]) == 15
    assert home.client.get("/docs").status_code == home.client.get("/api/docs").status_code == 404


def test_every_error_has_a_body(home: Home) -> None:
    for method, place, status in (
        ("GET", "/api/nothing", 404),
        ("GET", "/nothing", 404),
        ("POST", "/api/search", 405),
        ("POST", "/", 405),
        ("GET", "/api/search?limit=many", 422),
        ("GET", "/api/photos/0", 422),
        ("GET", "/api/photos/123456", 404),
        ("GET", "/api/search?on=yesterday", 400),
        ("POST", "/api/pictures", 400),
    ):
        answer = home.client.request(method, place)
        assert answer.status_code == status, place
        assert set(answer.json()) == {"error", "hint"}
        assert answer.json()["error"]
        assert "content-security-policy" in answer.headers


def test_many_clients_at_once_lose_nothing(home: Home) -> None:
    host, clients, each = home.client.base_url.netloc.decode(), 200, 3
    expected = {word: home.get("search", q=word, limit=3) for word in ("red", "green", "blue")}
    start = threading.Barrier(clients)

    def ask(number: int) -> list[bool]:
        with closing(HTTPConnection(host, timeout=60)) as connection:
            start.wait()
            right = []
            for turn in range(each):
                word = ("red", "green", "blue")[(number + turn) % 3]
                connection.request("GET", f"/api/search?q={word}&limit=3")
                right.append(json.load(connection.getresponse()) == expected[word])
            return right

    with ThreadPoolExecutor(clients) as pool:
        answers = list(chain(*pool.map(ask, range(clients))))
    assert answers == [True] * clients * each
