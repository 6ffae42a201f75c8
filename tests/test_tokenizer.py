# ruff: noqa: RUF001 - letters of many scripts are the point
from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import ftfy
import numpy as np
import open_clip.tokenizer as reference
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from clipsearch.encoders.tokenizer import Cleaning, Tokenizer, clean
from clipsearch.encoders.vocabulary import write_tokenizer
from clipsearch.errors import BadCheckpointError, ModelError, UnknownModelError
from clipsearch.types import Listeners

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# Characters newer than the Unicode tables of `regex` or `tokenizers` may count as letters in only one.
OLD_CHARACTERS = st.characters(exclude_categories=["Cs", "Cn"])
TEXTS = [
    "",
    " ",
    "a dog",
    "A Photo of a GOLDEN Retriever, on the beach.",
    "hello world's can't I'LL he'd 've 's's't ''' 'S",
    "3.14159 1,000,000 2024-05-06 ² ½ Ⅻ ١٢٣ 四",
    "café naïve façade Ångström e\u0301 ﬁ ſt İI ß",
    "schÃ¶n â€œquotedâ€\x9d l’hÃ´tel",
    "漢字　かな ﾊﾝｶｸ 한국어 中文，标点。",
    "صورة كلب ילד חתול हिन्दी ไทย",
    "😀 👩‍👩‍👧‍👦 🇩🇪 ❤️ 👍🏽",
    "AT&amp;T &lt;b&gt; &amp;amp;lt; &eacute; &#128512; &nbsp; & &;",
    "tabs\tand\nnew\r\nlines\u2028and\x0bother\x85white\u00a0space\u3000",
    "nul\x00bell\x07escape\x1b[31mred\x1b[0m del\x7f zero\u200bwidth\ufeff soft\u00adhyphen",
    "<start_of_text> a <end_of_text>",
    "a<end_of_text>b !<end_of_text> <end_of_text <END_OF_TEXT> <|endoftext|>",
    "<end_of_text>'s <start_of_text><start_of_text>s <start_of_text>!",
    "_foo_bar_ --- ... !!! ??? #hash @name http://example.org/a?b=c&d=e",
    "x" * 5000,
    "word " * 400,
    "🐶" * 200,
    "\ud7ff\ue000\U0010ffff",
]


def tokenizer(folder: Path, config: dict[str, Any], files: Path | None = None) -> Tokenizer:
    target = folder / "out.json"
    written = write_tokenizer(config, target, folder=files, model="test", listeners=Listeners())
    return Tokenizer(target, written)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return tokenizer(tmp_path_factory.mktemp("clip"), {"context_length": 77})


@pytest.fixture(scope="module")
def simple() -> reference.SimpleTokenizer:
    return reference.SimpleTokenizer()


def same(ours: Tokenizer, theirs: Any, texts: Sequence[str]) -> None:
    got, wanted = ours(texts), theirs(list(texts)).numpy()
    assert got.dtype == np.int64
    for text, a, b in zip(texts, got, wanted, strict=True):
        assert a.tolist() == b.tolist(), repr(text)


def test_clip_ids_are_those_of_open_clip(clip: Tokenizer, simple: reference.SimpleTokenizer) -> None:
    same(clip, simple, TEXTS)


@pytest.mark.parametrize("cleaning", ["lower", "whitespace", "canonicalize"])
def test_clip_ids_are_the_same_for_every_cleaning_and_length(tmp_path: Path, cleaning: Cleaning) -> None:
    ours = tokenizer(tmp_path, {"context_length": 20, "tokenizer_kwargs": {"clean": cleaning}})
    same(ours, reference.SimpleTokenizer(context_length=20, clean=cleaning), TEXTS)


@settings(max_examples=400, deadline=None)
@given(text=st.text(OLD_CHARACTERS) | st.text(alphabet="<start_of_text>d 's!1é&;"))
def test_any_text_has_the_same_ids(clip: Tokenizer, simple: reference.SimpleTokenizer, text: str) -> None:
    same(clip, simple, [text])


@settings(max_examples=1000, deadline=None)
@given(text=st.text(alphabet=[chr(code) for code in range(32, 127) if chr(code) != "&"]))
def test_plain_ascii_needs_no_ftfy(text: str) -> None:
    assert ftfy.fix_text(text) == text
    for cleaning in ("lower", "whitespace", "canonicalize"):
        assert clean(text, cleaning) == reference.get_clean_fn(cleaning)(text)


@settings(max_examples=300, deadline=None)
@given(text=st.text() | st.from_regex(r"(&[a-z]{1,5};?|[ -~é\t]){0,20}", fullmatch=True))
def test_cleaning_is_open_clips(text: str) -> None:
    for cleaning in ("lower", "whitespace", "canonicalize"):
        assert clean(text, cleaning) == reference.get_clean_fn(cleaning)(text)


def gemma_like(folder: Path, **config: object) -> Path:
    """A tokenizer shaped as SigLIP2's: byte-pair encoding with byte fallback, spaces as underlines."""
    words = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    words += [*"abcdefghijklmnopqrstuvwxyz▁", "do", "dog", "▁a"]
    merges = [("d", "o"), ("do", "g"), ("▁", "a")]
    backend = Backend(
        models.BPE(
            vocab={word: index for index, word in enumerate(words)},
            merges=merges,
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.pre_tokenizer = pre_tokenizers.Split(" ", behavior="merged_with_previous")
    backend.decoder = decoders.Replace("▁", " ")
    backend.add_special_tokens(words[:4])
    backend.post_processor = processors.TemplateProcessing(
        single=["$A", "<eos>"], special_tokens=[("<eos>", 1)]
    )
    return saved(
        backend,
        folder,
        tokenizer_class="GemmaTokenizer",
        add_bos_token=False,
        add_eos_token=True,
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token="<bos>",
        unk_token="<unk>",
        **config,
    )


def bert_like(folder: Path, **config: object) -> Path:
    """A tokenizer shaped as BERT's, with class, separator, begin and end tokens."""
    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[BOS]", "[EOS]", "a", "dog", "##s", "cat", "on", ",", "."]
    backend = Backend(
        models.WordPiece(vocab={word: index for index, word in enumerate(words)}, unk_token="[UNK]")
    )
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    backend.add_special_tokens(words[:6])
    special = {f"{role}_token": f"[{role.upper()}]" for role in ("pad", "cls", "sep", "unk", "bos", "eos")}
    return saved(backend, folder, tokenizer_class="PreTrainedTokenizerFast", **special, **config)


def saved(backend: Backend, folder: Path, **config: object) -> Path:
    folder.mkdir(exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("make", [gemma_like, bert_like])
@pytest.mark.parametrize(
    ("config", "options"),
    [
        ({"padding_side": "right"}, {"clean": "canonicalize"}),
        ({"padding_side": "left"}, {"clean": "lower"}),
        ({"truncation_side": "left", "padding_side": "right"}, {}),
        ({}, {"clean": "whitespace"}),
    ],
    ids=["right", "left", "cut-left", "defaults"],
)
def test_own_tokenizers_give_the_ids_of_open_clip_with_transformers(
    tmp_path: Path, make: Any, config: dict[str, Any], options: dict[str, Any]
) -> None:
    files = make(tmp_path / "files", **config)
    ours = tokenizer(
        tmp_path, {"context_length": 16, "hf_tokenizer_name": "x/y", "tokenizer_kwargs": options}, files
    )
    same(ours, reference.HFTokenizer(str(files), context_length=16, **options), TEXTS)


def test_separators_are_zeroed_where_the_model_wants_it(tmp_path: Path) -> None:
    files = bert_like(tmp_path / "files")
    options = {"strip_sep_token": True}
    text = {"context_length": 12, "hf_tokenizer_name": "x/y", "tokenizer_kwargs": options}
    ours = tokenizer(tmp_path, text, files)
    same(ours, reference.HFTokenizer(str(files), context_length=12, strip_sep_token=True), TEXTS)


def test_clips_rows_end_with_the_class_token(tmp_path: Path) -> None:
    files = bert_like(tmp_path / "files")
    text = {"context_length": 12, "hf_tokenizer_name": "x/y", "tokenizer_mode": "clips"}
    ours = tokenizer(tmp_path, text, files)
    same(ours, reference.HFTokenizer(str(files), context_length=12, tokenizer_mode="clips"), TEXTS)


def test_missing_or_damaged_tokenizer_is_one_clear_error(tmp_path: Path) -> None:
    text = {"hf_tokenizer_name": "x/y"}
    with pytest.raises(UnknownModelError, match=r"holds no tokenizer\.json"):
        tokenizer(tmp_path, text, tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0"')
    with pytest.raises(BadCheckpointError, match="its tokenizer cannot be used"):
        tokenizer(tmp_path, text, tmp_path)


def test_query_time_imports_neither_torch_nor_transformers_nor_ftfy(tmp_path: Path) -> None:
    target = tmp_path / "tokenizer.json"
    written = write_tokenizer({}, target, folder=None, model="test", listeners=Listeners())
    code = (
        "import sys; from pathlib import Path;"
        "from clipsearch.encoders.tokenizer import Tokenizer, TokenizerSettings;"
        f"Tokenizer(Path({str(target)!r}), {written!r})(['a dog']);"
        "assert not {'torch', 'transformers', 'open_clip', 'ftfy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tokenizer, Tokenizer]:
    """With the merges of plain English at hand, and without."""
    folder = tmp_path_factory.mktemp("clip")
    quick = tokenizer(folder, {})
    (folder / "alone").mkdir()
    shutil.copy(folder / "out.json", folder / "alone")
    return quick, Tokenizer(folder / "alone" / "out.json", quick.settings)


@given(st.lists(st.text(st.characters(min_codepoint=32, max_codepoint=126)), min_size=1))
@settings(max_examples=300, deadline=None)
def test_plain_english_is_encoded_alike_without_tokenizers(
    both: tuple[Tokenizer, Tokenizer], texts: list[str]
) -> None:
    np.testing.assert_array_equal(both[0](texts), both[1](texts))


def test_query_in_plain_english_does_not_import_tokenizers(both: tuple[Tokenizer, Tokenizer]) -> None:
    code = (
        "import sys; from pathlib import Path;"
        "from clipsearch.encoders.tokenizer import Tokenizer, TokenizerSettings;"
        f"made = Tokenizer(Path({str(both[0]._path)!r}), {both[0].settings!r});"
        "print(made(['A golden retriever, on the beach']).tolist()[0][:9], 'tokenizers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == f"{both[1](['A golden retriever, on the beach']).tolist()[0][:9]} False"


def test_damaged_vocabulary_is_one_clear_line(both: tuple[Tokenizer, Tokenizer], tmp_path: Path) -> None:
    whole = both[0]._path.parent
    shutil.copy(whole / "merges.txt", tmp_path)
    (tmp_path / "out.json").write_text('{"version"')
    made = Tokenizer(tmp_path / "out.json", both[0].settings)
    np.testing.assert_array_equal(made(["a dog"]), both[0](["a dog"]))
    with pytest.raises(ModelError, match="the model cache is damaged"):
        made(["ein Hund im Café"])
    (tmp_path / "merges.txt").write_text("a b\nc d")
    with pytest.raises(ModelError, match="the model cache is damaged"):
        Tokenizer(tmp_path / "out.json", both[0].settings)
