# ruff: noqa: RUF001 - letters of many scripts are the point
from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from clipsearch.encoders.registry import PRESETS, resolve, scripts_of
from clipsearch.encoders.scripts import advice, foreign_scripts
from clipsearch.types import ModelSource

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "scripts"),
    [
        ("a dog", []),
        ("", []),
        ("café naïve Ångström “ß” — 12,50 €", []),
        ("ﬁ ａｂｃ 𝐛𝐨𝐥𝐝 № 5 ½", []),
        ("5 µm, π, Ω", []),
        ("😀 ❤️ 👩‍👩‍👧", []),
        ("собака на пляже", ["CYRILLIC"]),
        ("a photo of a собака", ["CYRILLIC"]),
        ("Ακρόπολη", ["GREEK"]),
        ("夜の東京タワー", ["CJK", "HIRAGANA", "KATAKANA"]),
        ("猫", ["CJK"]),
        ("ﾊﾝｶｸ", ["KATAKANA"]),
        ("경복궁", ["HANGUL"]),
        ("كلب", ["ARABIC"]),
        ("ילד", ["HEBREW"]),
        ("कुत्ता", ["DEVANAGARI"]),
        ("สุนัข", ["THAI"]),
        ("<bad> & nul\x00 \ud7ff \U0010ffff", []),
    ],
)
def test_scripts_of_words_are_told_from_symbols(text: str, scripts: list[str]) -> None:
    assert foreign_scripts([text]) == scripts
    assert foreign_scripts(["a dog", text]) == scripts


def test_advice_names_the_script_and_the_preset_that_knows_it() -> None:
    sentence = advice(["夜の東京タワー"], resolve("default"))
    assert sentence is not None
    assert sentence.startswith("ViT-B-32-256/datacomp_s34b_b86k knows little of Japanese writing")
    assert "--model multilingual" in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("model", "is_english"),
    [
        ("default", True),
        ("builtin", True),
        ("multilingual", False),
        ("best", False),
        ("ViT-L-14/openai", True),
        ("MobileCLIP2-S0/dfndr2b", True),
        ("ViT-B-16-SigLIP/webli", True),
        ("ViT-B-16-SigLIP-i18n-256/webli", False),
        ("xlm-roberta-base-ViT-B-32/laion5b_s13b_b90k", False),
        ("nllb-clip-base/v1", False),
        ("hf-hub:somebody/model", False),
    ],
)
def test_models_that_know_a_script_get_no_advice(model: str, *, is_english: bool) -> None:
    assert (advice(["собака"], resolve(model)) is not None) == is_english
    assert advice(["a dog"], resolve(model)) is None


def test_nobody_knows_what_a_users_own_model_was_trained_on(tmp_path: Path) -> None:
    assert scripts_of(ModelSource("ViT-B-32", tmp_path / "mine.pt")) is None
    assert scripts_of(ModelSource(f"local-dir:{tmp_path}")) is None


def test_some_preset_knows_every_script() -> None:
    assert any(preset.scripts is None for preset in PRESETS.values())


def test_query_in_latin_letters_waits_for_no_tables() -> None:
    code = (
        "import sys; sys.modules['unicodedata'] = None\n"
        "from clipsearch.encoders.scripts import advice; from clipsearch.types import ModelSource\n"
        "assert advice(['a dog', 'café'], ModelSource('builtin')) is None"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_search_and_classify_tell_it_once_and_answer(builtin_cache: Path, tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "photos").mkdir()
    Image.new("RGB", (64, 64), "red").save(tmp_path / "photos" / "red.png")
    folders = {"CLIPSEARCH_CACHE": str(builtin_cache), "CLIPSEARCH_LIBRARY": str(tmp_path / "library")}
    environment = os.environ | folders

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "clipsearch", *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert run("index", str(tmp_path / "photos"), "--model", "builtin").returncode == 0
    for words in (["search", "красный"], ["classify", "--labels", "красный,синий"]):
        done = run(*words, "--format", "csv")
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("knows little of Cyrillic writing") == 1
        assert "red.png" in done.stdout
    assert "writing" not in run("search", "red").stderr
