from __future__ import annotations

import json
import subprocess
import sys
from itertools import islice, product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_families import nllb_like, roberta_like, unigram
from test_tokenizer import OLD_CHARACTERS, TEXTS, bert_like, gemma_like, saved
from tiny_model import tiny_config
from tokenizers import Tokenizer, models, normalizers, processors

from clipsearch.encoders.pieces import Pieces, write_pieces

LINUX = pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's own account of memory"
)
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
MADE = {
    "gemma": gemma_like,
    "nllb": nllb_like,
    "roberta": roberta_like,
    "xlm-roberta": lambda folder: unigram(folder, ends="<s> $A </s>", special=SPECIAL),
    "mt5": lambda folder: unigram(folder, ends="$A </s>", special=("<pad>", "</s>", "<unk>")),
}


@pytest.fixture(scope="module", params=MADE)
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Pieces, Tokenizer]:
    """The tables of a tokenizer, and the tokenizer."""
    folder = MADE[request.param](tmp_path_factory.mktemp("pieces") / "made")
    assert write_pieces(folder / "tokenizer.json", folder, TEXTS)
    return Pieces(folder / "pieces.json"), Tokenizer.from_file(str(folder / "tokenizer.json"))


def same(both: tuple[Pieces, Tokenizer], text: str) -> None:
    pieces, backend = both
    found = pieces.encode(text)
    if found is not None:
        assert found == backend.encode(text, add_special_tokens=False).ids, repr(text)


def test_pieces_are_those_of_tokenizers(both: tuple[Pieces, Tokenizer]) -> None:
    assert both[0].encode("a dog") is not None
    for text in TEXTS:
        same(both, text)


@settings(max_examples=50, deadline=None)
@given(text=st.text(OLD_CHARACTERS) | st.text("adogts nhelwr,.▁漢字сбка"))
def test_pieces_of_any_text_are_those_of_tokenizers(both: tuple[Pieces, Tokenizer], text: str) -> None:
    same(both, text)


@pytest.mark.parametrize("cut_left", [False, True])
def test_rows_are_cut_between_the_ends(both: tuple[Pieces, Tokenizer], *, cut_left: bool) -> None:
    pieces, backend = both
    backend.enable_truncation(7, direction="left" if cut_left else "right")
    for text in ("", "a", "a dog on the beach of a town", "word " * 50):
        bare = pieces.encode(text)
        assert bare is not None
        assert pieces.between_ends(bare, 7, cut_left=cut_left) == backend.encode(text).ids
    backend.no_truncation()


def test_special_tokens_in_a_text_are_left_to_tokenizers(both: tuple[Pieces, Tokenizer]) -> None:
    (token, *_) = json.loads(both[1].to_str())["added_tokens"]
    assert both[0].encode(f"a {token['content']} b") is None


def test_other_models_and_options_have_no_pieces(tmp_path: Path) -> None:
    words = bert_like(tmp_path / "bert")
    assert not write_pieces(words / "tokenizer.json", words, [])
    gemma = gemma_like(tmp_path / "gemma")
    content = json.loads((gemma / "tokenizer.json").read_text())
    for model in ({"end_of_word_suffix": "</w>"}, {"ignore_merges": True}, {"dropout": 0.1}):
        (gemma / "tokenizer.json").write_text(json.dumps({**content, "model": {**content["model"], **model}}))
        assert not write_pieces(gemma / "tokenizer.json", gemma, [])
    assert not (gemma / "pieces.json").exists()


def test_damaged_pieces_are_said_so(tmp_path: Path) -> None:
    folder = gemma_like(tmp_path / "gemma")
    write_pieces(folder / "tokenizer.json", folder, [])
    (folder / "pieces.keys.npy").write_bytes(b"")
    with pytest.raises((OSError, ValueError)):
        Pieces(folder / "pieces.json")
    (folder / "pieces.json").write_text("[]")
    with pytest.raises(ValueError, match="another format"):
        Pieces(folder / "pieces.json")


def wide_model(folder: Path, *, words: int, width: int) -> Path:
    """A model with the vocabulary of SigLIP2's size, in two layers: what else it holds is small."""
    import torch
    from open_clip import CustomTextCLIP
    from safetensors.torch import save_file

    letters = "abcdefghijklmnopqrstuvwxyz▁"
    vocabulary = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    merges = []
    for length in (2, 3, 4):
        for spelled in islice(product(letters, repeat=length), words - len(vocabulary)):
            word = "".join(spelled)
            vocabulary.append(word)
            merges += [(word[:at], word[at:]) for at in range(1, length)]
    numbers = {word: number for number, word in enumerate(vocabulary)}
    backend = Tokenizer(
        models.BPE(vocab=numbers, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    roles = {"pad_token": "<pad>", "eos_token": "<eos>"}
    saved(backend, folder, tokenizer_class="PreTrainedTokenizerFast", padding_side="right", **roles)
    config = tiny_config(siglip=True)
    config["embed_dim"] = 64
    config["text_cfg"] |= {"vocab_size": len(vocabulary), "width": width, "heads": width // 64}
    config["text_cfg"] |= {"hf_tokenizer_name": "x/y", "tokenizer_kwargs": {"clean": "canonicalize"}}
    written = {"model_cfg": config, "preprocess_cfg": {"resize_mode": "squash"}}
    (folder / "open_clip_config.json").write_text(json.dumps(written))
    network = CustomTextCLIP(**{key: value for key, value in config.items() if key != "custom_text"})
    weights = {name: value.contiguous() for name, value in network.state_dict().items()}
    assert weights["text.token_embedding.weight"].shape == (words, width)
    with torch.no_grad():
        save_file(weights, folder / "open_clip_model.safetensors")
    return folder


_QUERY = """
import sys
from pathlib import Path
from clipsearch import Library

with Library.open(Path(sys.argv[1])) as library:
    assert len(library.search("a brown dog on the beach at night")) == 1
counted = (line.split() for line in open("/proc/self/smaps_rollup").readlines()[1:])
held = {name.rstrip(":"): int(kilobytes) / 1024 for name, kilobytes, *_ in counted}
print(held["Private_Dirty"], held["Private_Clean"], "tokenizers" in sys.modules)
"""


@LINUX
@pytest.mark.slow
def test_query_touches_only_its_rows_of_a_big_vocabulary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    from clipsearch import Library

    monkeypatch.setenv("CLIPSEARCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (64, 64), "red").save(tmp_path / "photos" / "red.png")
    model = wide_model(tmp_path / "model", words=256_000, width=768)
    with Library.open(tmp_path / "library") as library:
        assert library.index([tmp_path / "photos"], model=str(model)).new == 1
        library.search("a dog")  # what is prepared once per model is prepared now
    matrix = 256_000 * 768 * 4 / 2**20
    layers = 2 * 12 * 768 * 768 * 4 / 2**20

    def query() -> tuple[float, float]:
        command = [sys.executable, "-c", _QUERY, str(tmp_path / "library")]
        dirty, clean, _ = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        return float(dirty), float(clean)

    dirty, clean = query()
    assert matrix == 750
    # What is written to, and the pages of the layers and of few rows, which others may share.
    assert dirty < 150, (dirty, clean)
    assert dirty + clean < 150 + layers + 60, (dirty, clean)
