"""`clipsearch mcp`, spoken with by the SDK's own client: what assistants see of a library, and what not."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
import pytest
from mcp import Client, StdioServerParameters
from mean_color import paint
from PIL import Image
from program import install

from clipsearch import Library, __version__
from clipsearch.cli import main

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mcp_types import CallToolResult, Tool

PROGRAM = Path(__file__).with_name("program.py")
ODD = os.fsdecode("zwölf 🐕\nx".encode() + b"\xff.png")
Call = tuple[str, dict[str, Any]]


class Home(NamedTuple):
    """Photos and their library."""

    folder: Path

    @property
    def command(self) -> list[str]:
        return [str(PROGRAM), "mcp", "--library", str(self.folder / "library")]

    @property
    def environment(self) -> dict[str, str]:
        cache = self.folder / "cache"
        return {"PYTHONPATH": str(PROGRAM.parents[1]), "CLIPSEARCH_CACHE": str(cache), "TERM": "dumb"}


class Talk(NamedTuple):
    """What a server said."""

    instructions: str | None
    name: tuple[str, str]
    tools: dict[str, Tool]
    answers: list[CallToolResult]


def talk(home: Home, calls: Sequence[Call]) -> Talk:
    server = StdioServerParameters(command=sys.executable, args=home.command, env=home.environment, cwd="/")

    async def converse() -> Talk:
        async with Client(server) as client:
            listed = await client.list_tools()
            answers = [await client.call_tool(name, arguments) for name, arguments in calls]
            info = client.server_info
            assert info is not None
            tools = {one.name: one for one in listed.tools}
            return Talk(client.instructions, (info.name, info.version), tools, answers)

    return anyio.run(converse)


CALLS: dict[str, Call] = {
    "search": ("search", {"text": "red", "limit": 2}),
    "terms": ("search", {"text": "red", "add": ["2:blue"], "subtract": ["0.5:green"]}),
    "newest": ("search", {"filters": {"on": "2023"}}),
    "filters": ("search", {"text": "red", "filters": {"in": "FOLDER/photos/blü", "glob": "*.png"}}),
    "weak": ("search", {"text": "red", "only_matches": True}),
    "like": ("search", {"add": ["photo:1"], "limit": 1}),
    "similar": ("similar", {"photo": "RED", "limit": 2}),
    "similar by path": ("similar", {"photo": "FOLDER/photos/red.png", "limit": 2}),
    "classify": ("classify", {"labels": ["red", "blue"], "examples": 1}),
    "unsure": ("classify", {"labels": ["red", "blue"], "min_prob": 1}),
    "photo": ("photo", {"photo": "FOLDER/photos/dated.jpg"}),
    "gone": ("photo", {"photo": "FOLDER/photos/gone.png"}),
    # Wrong, each in a way of its own.
    "path": ("similar", {"photo": "FOLDER/secret.png"}),
    "path as text": ("search", {"text": "FOLDER/secret.png", "limit": 1}),
    "address as text": ("search", {"text": "http://127.0.0.1:9/a.jpg", "limit": 1}),
    "climbing": ("photo", {"photo": "FOLDER/photos/../secret.png"}),
    "link": ("photo", {"photo": "FOLDER/photos/link.png"}),
    "no id": ("photo", {"photo": 999}),
    "no date": ("search", {"text": "red", "filters": {"on": "never"}}),
    "no filter": ("search", {"text": "red", "filters": {"colour": "red"}}),
    "relative": ("search", {"text": "red", "filters": {"in": "photos"}}),
    "limit": ("search", {"text": "red", "limit": 0}),
    "labels": ("classify", {"labels": ["red", "red"]}),
    "concept": ("search", {"text": "@nobody"}),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home(tmp_path_factory.mktemp("assistant"))
    photos = home.folder / "photos"
    for name, color in {
        "red.png": (250, 0, 0),
        f"blü/{ODD}": (0, 0, 250),
        "gone.png": (0, 250, 0),
        "link.png": (9, 99, 9),
    }.items():
        paint(photos / name, color)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    exif[0x9003] = exif[0x0132] = "2023:05:17 18:30:00"
    Image.new("RGB", (900, 600), (250, 9, 9)).save(photos / "dated.jpg", exif=exif)
    with pytest.MonkeyPatch.context() as patch:
        install(patch.setattr)
        patch.setenv("CLIPSEARCH_CACHE", str(home.folder / "cache"))
        with Library.open(home.folder / "library") as library:
            library.index([photos])
    (photos / "gone.png").unlink()
    (photos / "link.png").unlink()
    paint(home.folder / "secret.png", (1, 2, 3))
    (photos / "link.png").symlink_to(home.folder / "secret.png")
    return home


@pytest.fixture(scope="module")
def said(home: Home) -> Talk:
    with Library.open(home.folder / "library") as library:
        red = library.photo_at(home.folder / "photos/red.png").id
    calls = json.dumps(list(CALLS.values())).replace("FOLDER", str(home.folder)).replace('"RED"', str(red))
    return talk(home, json.loads(calls))


def answer(said: Talk, name: str) -> Any:
    """The structured answer to a call, which is also there as text."""
    found = said.answers[list(CALLS).index(name)]
    assert not found.is_error, found
    assert json.loads(found.content[0].text) == found.structured_content  # type: ignore[union-attr]
    return found.structured_content


def refusal(said: Talk, name: str) -> str:
    found = said.answers[list(CALLS).index(name)]
    assert found.is_error, found
    (content,) = found.content
    return str(content.text)  # type: ignore[union-attr]


def names(answer: Any) -> list[str]:
    return [Path(one["path"]).name for one in answer["photos"]]


def test_it_says_what_it_is_and_can_do(said: Talk) -> None:
    assert said.name == ("clipsearch", __version__)
    assert said.instructions is not None
    assert sorted(said.tools) == ["classify", "photo", "search", "similar"]
    for tool in said.tools.values():
        assert tool.title
        assert tool.description
        assert tool.output_schema is not None
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint
        assert tool.annotations.open_world_hint is False
        shapes = [tool.input_schema, *tool.input_schema.get("$defs", {}).values()]
        for name, one in [pair for shape in shapes for pair in shape["properties"].items()]:
            assert "description" in one or "$ref" in str(one) or "enum" in str(one), f"{tool.name}: {name}"


def test_search_has_the_records_of_the_command(
    said: Talk, home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch.setattr)
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(home.folder / "cache"))
    options = ["--format", "json", "--library", str(home.folder / "library")]
    for name, command in {
        "search": ["search", "red", "-n", "2"],
        "newest": ["search", "--on", "2023"],
        "similar": ["similar", str(home.folder / "photos/red.png"), "-n", "2"],
    }.items():
        assert main([*command, *options]) == 0
        records = [
            {key: value for key, value in one.items() if key != "id"} for one in answer(said, name)["photos"]
        ]
        assert records == json.loads(capsys.readouterr().out), name


def test_terms_and_filters_count(said: Talk) -> None:
    assert names(answer(said, "terms"))[0].endswith(r"x\udcff.png"), "bytes are spelled"
    assert len(answer(said, "filters")["photos"]) == 1
    assert answer(said, "weak")["photos"] == []
    (found,) = answer(said, "like")["photos"]
    assert found["id"] == 1


def test_a_photo_goes_by_id_or_path(said: Talk) -> None:
    assert answer(said, "similar") == answer(said, "similar by path")


def test_classify_counts(said: Talk) -> None:
    found = answer(said, "classify")
    assert (found["photos"], found["left_out"]) == (5, 0)
    assert sum(one["photos"] for one in found["labels"]) == 5
    assert [len(one["examples"]) for one in found["labels"]] == [1, 1]
    assert answer(said, "unsure")["left_out"] == 5


def test_a_photo_is_shown_small_and_upright(said: Talk) -> None:
    details = answer(said, "photo")
    assert details["taken"] == "2023-05-17T18:30:00"
    assert details["tags"] == []
    (_, content) = said.answers[list(CALLS).index("photo")].content
    assert content.type == "image"
    assert content.mime_type == "image/webp"
    with Image.open(io.BytesIO(base64.b64decode(content.data))) as picture:
        assert (picture.format, picture.size) == ("WEBP", (341, 512))


@pytest.mark.parametrize("name", ["gone", "link"])
def test_a_photo_that_is_not_there_has_details_and_no_picture(said: Talk, home: Home, name: str) -> None:
    if name == "link":
        # Its path leads out of the indexed folder now, to bytes that were never indexed.
        assert "secret" in str((home.folder / "photos/link.png").readlink())
    (notice,) = answer(said, name)["notices"]
    assert notice.startswith("no picture: ")
    assert len(said.answers[list(CALLS).index(name)].content) == 1


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("path", "no photo is indexed as"),
        ("climbing", "no photo is indexed as"),
        ("no id", "no photo has the id 999"),
        ("no date", "not a date"),
        ("no filter", "colour"),
        ("relative", "not an absolute folder"),
        ("limit", "greater than or equal to 1"),
        ("labels", "label given twice"),
        ("concept", "@nobody"),
    ],
)
def test_what_is_wrong_is_said(said: Talk, name: str, says: str) -> None:
    assert says in refusal(said, name)
    assert "Traceback" not in refusal(said, name)


def test_paths_and_addresses_are_texts(said: Talk) -> None:
    for name in ("path as text", "address as text"):
        assert len(answer(said, name)["photos"]) == 1, "a text matches something; nothing is opened"


def test_a_library_that_is_not_there_yet_is_said_by_each_tool(tmp_path: Path) -> None:
    calls: list[Call] = [
        ("search", {"text": "red"}),
        ("similar", {"photo": 1}),
        ("classify", {"labels": ["red"]}),
        ("photo", {"photo": 1}),
    ]
    found = talk(Home(tmp_path), calls)
    for one in found.answers:
        assert one.is_error
        assert "nothing is indexed yet" in str(one.content)
    assert list(tmp_path.iterdir()) == [], "nothing was made"


def test_nothing_but_the_protocol_is_on_standard_output(home: Home) -> None:
    version = {"protocolVersion": "2025-06-18", "capabilities": {}}
    call = dict(zip(("name", "arguments"), CALLS["search"], strict=True))
    messages = [
        {"id": 1, "method": "initialize", "params": {**version, "clientInfo": {"name": "t", "version": "1"}}},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/call", "params": call},
    ]
    with subprocess.Popen(
        [sys.executable, *home.command],
        env=os.environ | home.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stdin is not None
        assert run.stdout is not None
        lines = []
        for message in messages:
            run.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
            run.stdin.flush()
            if "id" in message:
                lines.append(run.stdout.readline())
        rest, errors = run.communicate()
    assert [json.loads(line)["id"] for line in lines] == [1, 2]
    assert (run.returncode, rest, errors) == (0, "", ""), "it ends with its input"


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_ctrl_c_ends_it_however_often(home: Home) -> None:
    with subprocess.Popen(
        [sys.executable, *home.command],
        env=os.environ | home.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stdin is not None
        assert run.stdout is not None
        run.stdin.write('{"jsonrpc": "2.0", "id": 1, "method": "ping"}\n')
        run.stdin.flush()
        assert run.stdout.readline()
        for _ in range(2):
            run.send_signal(signal.SIGINT)
            time.sleep(0.05)
        out, errors = run.communicate()
    assert (run.returncode, out, errors) == (130, "", "interrupted\n")


def test_without_the_extra_it_is_one_clear_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "clipsearch.assistant", raising=False)
    monkeypatch.setitem(sys.modules, "mcp.server", None)
    assert main(["mcp"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    error, hint = err.splitlines()
    assert "packages that are not installed" in error
    assert hint == 'hint: pip install "clipsearch[mcp]"'
