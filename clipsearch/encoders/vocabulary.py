"""Finds a model's vocabulary and writes it as `tokenizer.json`: once per model, when it is first loaded.

Follows `open_clip.get_tokenizer`: a text tower with `hf_tokenizer_name` brings its own tokenizer.json (in
the model's folder for `local-dir:`, else on the hub); any other uses OpenAI's byte-pair encoding.
"""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors

from clipsearch.encoders import hub, registry
from clipsearch.encoders.merges import MERGES_COUNT, MERGES_NAME, write_merges
from clipsearch.encoders.pieces import write_pieces
from clipsearch.encoders.tokenizer import TokenizerSettings
from clipsearch.errors import BadCheckpointError, UnknownModelError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from clipsearch.types import Listeners

# The word pattern of OpenAI's CLIP, as in open_clip.tokenizer.
_CLIP_WORDS = r"(?i:<start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+)"

# Held against `tokenizers` before the pieces of a vocabulary are used instead of it.
_SAMPLES = (
    "",
    "a photo of a dog",
    "Ein rotes Auto vor einem alten Haus, 1987!",
    "собака на пляже",
    "夜の東京タワー",
    "경복궁의 가을",
    "كلب على الشاطئ",
    "समुद्र तट पर कुत्ता",
    "café №5: 12,50 € 🍰👩‍👩‍👧",
    "a very long description of a quiet street in the morning " * 5,
)


def write_tokenizer(
    text_config: dict[str, Any], target: Path, *, folder: Path | None, model: str, listeners: Listeners
) -> TokenizerSettings:
    """Write `target` (a `tokenizer.json`) for a text tower and return how to use it.

    Args:
        text_config: OpenCLIP's `text_cfg`.
        target: Path to write.
        folder: Of a `local-dir:` model; its tokenizer files are used, never the hub's.
        model: What the user asked for, for error messages.
        listeners: For the download's progress.

    Raises:
        ModelUnavailableError: The tokenizer is neither cached nor can be downloaded.
        UnknownModelError: There is no tokenizer.json.
        BadCheckpointError: The tokenizer's files do not make sense.
    """
    context = int(text_config.get("context_length", 77))
    options: dict[str, Any] = dict(text_config.get("tokenizer_kwargs") or {})
    name = text_config.get("hf_tokenizer_name")
    if not name:
        merges = _clip_merges()
        _clip_tokenizer(merges).save(str(target), pretty=False)
        write_merges(target.with_name(MERGES_NAME), merges)
        start, end = MERGES_COUNT + 512, MERGES_COUNT + 513
        return TokenizerSettings("clip", context, options.get("clean", "lower"), start=start, end=end)
    files = _Files(name, folder, model, listeners)
    try:
        return _hub_tokenizer(files, target, context, options, text_config.get("tokenizer_mode"))
    except (ValueError, KeyError, TypeError) as error:
        raise BadCheckpointError(f"{model}: its tokenizer cannot be used: {error}") from error


def _clip_merges() -> list[tuple[str, str]]:
    packed = registry.open_clip_folder() / "bpe_simple_vocab_16e6.txt.gz"
    lines = gzip.decompress(packed.read_bytes()).decode("utf-8").split("\n")[1 : MERGES_COUNT + 1]
    return [(left, right) for left, right in map(str.split, lines)]


def _clip_tokenizer(merges: list[tuple[str, str]]) -> Tokenizer:
    letters = list(_byte_letters())
    words = [*letters, *(letter + "</w>" for letter in letters)]
    words += [left + right for left, right in merges]
    words += ["<start_of_text>", "<end_of_text>"]
    model = models.BPE(
        vocab={word: index for index, word in enumerate(words)},
        merges=merges,
        end_of_word_suffix="</w>",
        continuing_subword_prefix="",
    )
    backend = Tokenizer(model)
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_CLIP_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return backend


def _byte_letters() -> Iterator[str]:
    """One visible letter for each byte, in the order of GPT-2's vocabulary: visible bytes come first."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    yield from map(chr, visible)
    yield from (chr(256 + index) for index in range(256 - len(visible)))


class _Files:
    """The tokenizer's files, from the model's folder or from the hub."""

    def __init__(self, name: str, folder: Path | None, model: str, listeners: Listeners) -> None:
        self._name, self._folder, self._model, self._listeners = name, folder, model, listeners

    def path(self, file: str) -> Path:
        if self._folder is None:
            return hub.fetch(self._name, [file], model=self._model, listeners=self._listeners)
        path = self._folder / file
        if not path.is_file():
            raise UnknownModelError(f"{self._model}: {self._folder} holds no {file}")
        return path

    def json(self, file: str) -> dict[str, Any]:
        """Content of an optional file; empty when there is none."""
        try:
            path = self.path(file)
        except UnknownModelError:
            return {}
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return content


def _hub_tokenizer(
    files: _Files, target: Path, context: int, options: dict[str, Any], mode: str | None
) -> TokenizerSettings:
    try:
        backend = Tokenizer.from_file(str(files.path("tokenizer.json")))
    except Exception as error:
        # `tokenizers` raises bare Exception for a file it cannot read
        if type(error) is not Exception:
            raise
        raise ValueError(f"tokenizer.json: {error}") from error
    config = {**files.json("special_tokens_map.json"), **files.json("tokenizer_config.json")}

    def token(role: str) -> str | None:
        value = config.get(f"{role}_token")
        return value.get("content") if isinstance(value, dict) else value

    def token_id(role: str) -> int | None:
        content = token(role)
        return None if content is None else backend.token_to_id(content)

    _add_ends(backend, config, start=token("bos"), end=token("eos"))
    backend.save(str(target), pretty=False)
    write_pieces(target, target.parent, _SAMPLES)
    padding = backend.padding or {}
    pad = token_id("pad")
    if pad is None:
        pad = int(padding.get("pad_id", 0))
    return TokenizerSettings(
        "clips" if mode == "clips" else "plain",
        context,
        options.get("clean", "whitespace"),
        pad=pad,
        pad_left=config.get("padding_side", "left" if _is_llama(config) else "right") == "left",
        cut_left=config.get("truncation_side") == "left",
        start=token_id("bos") or 0,
        end=token_id("eos") or 0,
        last=token_id("cls") or 0,
        zeroed=token_id("sep") if options.get("strip_sep_token") else None,
    )


def _add_ends(backend: Tokenizer, config: dict[str, Any], *, start: str | None, end: str | None) -> None:
    """Let the configuration decide about start and end tokens where transformers lets it: Llama, Gemma."""
    if not _is_llama(config) or not {"add_bos_token", "add_eos_token"} & config.keys():
        return
    before = [start] if config.get("add_bos_token", True) and start else []
    after = [end] if config.get("add_eos_token", False) and end else []
    ends = [(content, backend.token_to_id(content)) for content in {*before, *after}]
    backend.post_processor = processors.TemplateProcessing(
        single=[*before, "$A", *after], special_tokens=ends
    )


def _is_llama(config: dict[str, Any]) -> bool:
    return str(config.get("tokenizer_class", "")).startswith(("Gemma", "Llama"))
