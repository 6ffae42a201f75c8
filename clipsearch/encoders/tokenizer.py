"""Texts to token ids, as OpenCLIP's tokenizers make them, without OpenCLIP, torch or transformers.

Query time needs two things from the model cache: `tokenizer.json` (format of the package `tokenizers`)
and `TokenizerSettings`; `clipsearch.encoders.vocabulary` writes both when a model is first loaded.
"""

from __future__ import annotations

import html
import re
import string
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from clipsearch.encoders.merges import MERGES_NAME, Merges
from clipsearch.encoders.pieces import PIECES_NAME, Pieces
from clipsearch.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from tokenizers import Tokenizer as Backend

Cleaning = Literal["lower", "whitespace", "canonicalize"]

# What neither ftfy nor html.unescape can change.
_PLAIN = re.compile(r"[ -%'-~]*")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True, slots=True)
class TokenizerSettings:
    """How one model's texts become ids, beyond what `tokenizer.json` says.

    Attributes:
        kind: `clip`: OpenAI's byte-pair encoding between a start and an end token. `plain`: the
            tokenizer's own post-processing. `clips`: CLIPS's start, text, end, padding, class token.
        context_length: Ids in a row.
        cleaning: Applied to the text first.
        pad: Id after (or before) the text.
        pad_left: Padding comes before the text.
        cut_left: Texts that are too long lose their beginning.
        start: Id of the start token, for `clip` and `clips`.
        end: Id of the end token, for `clip` and `clips`.
        last: Id of the class token that closes a row, for `clips`.
        zeroed: This id is replaced by 0 (OpenCLIP's `strip_sep_token`).
    """

    kind: Literal["clip", "plain", "clips"]
    context_length: int
    cleaning: Cleaning
    pad: int = 0
    pad_left: bool = False
    cut_left: bool = False
    start: int = 0
    end: int = 0
    last: int = 0
    zeroed: int | None = None


class Tokenizer:
    """Texts to ids for one model.

    Args:
        path: `tokenizer.json`, with CLIP's merges or a big vocabulary's pieces beside it.
        settings: Written beside it.
    """

    def __init__(self, path: Path, settings: TokenizerSettings) -> None:
        self.settings = settings
        self._path = path
        self._merges: Merges | None = None
        if settings.kind == "clip":
            with suppress(OSError, ValueError):
                self._merges = Merges(path.with_name(MERGES_NAME))
        self._pieces: Pieces | None = None
        if settings.kind == "plain":
            with suppress(OSError, ValueError, KeyError):
                self._pieces = Pieces(path.with_name(PIECES_NAME))
        if self._merges is None and self._pieces is None:
            _ = self._backend  # a damaged file is noticed now

    @cached_property
    def _backend(self) -> Backend:
        from tokenizers import Tokenizer as Opened

        try:
            backend = Opened.from_file(str(self._path))
        except Exception as error:  # it has no class of its own
            hint = "delete its folder: it is made again from the model"
            raise ModelError(f"the model cache is damaged: {self._path} ({error})", hint) from error
        backend.no_padding()
        backend.no_truncation()
        if self.settings.kind == "plain":
            backend.enable_truncation(
                self.settings.context_length, direction="left" if self.settings.cut_left else "right"
            )
        return backend

    def __call__(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Returns `(n, context_length)` int64 ids; longer texts are cut as the model's own tokenizer cuts."""
        settings = self.settings
        ids = np.full((len(texts), settings.context_length), settings.pad, np.int64)
        for row, text in zip(ids, texts, strict=True):
            found = self._row(clean(text, settings.cleaning))
            if settings.pad_left:
                row[len(row) - len(found) :] = found
            else:
                row[: len(found)] = found
        if settings.zeroed is not None:
            ids[ids == settings.zeroed] = 0
        return ids

    def _row(self, text: str) -> list[int]:
        settings, length = self.settings, self.settings.context_length
        if settings.kind == "plain":
            if self._pieces is not None and (found := self._pieces.encode(text)) is not None:
                return self._pieces.between_ends(found, length, cut_left=settings.cut_left)
            return list(self._backend.encode(text).ids)
        if settings.kind == "clip":
            return [settings.start, *self._clip(text)[: length - 2], settings.end]
        words = self._backend.encode(text, add_special_tokens=False).ids[: length - 3]
        row = [settings.start, *words, settings.end]
        return [*row, *[settings.pad] * (length - 1 - len(row)), settings.last]

    def _clip(self, text: str) -> list[int]:
        if self._merges is not None and (found := self._merges.encode(text)) is not None:
            return found
        if "_of_text>" not in text:
            return list(self._backend.encode(text, add_special_tokens=False).ids)
        # OpenCLIP takes a special token typed by the user for the real one, but only where its word
        # pattern makes it a word of its own; `tokenizers` would find it anywhere.
        ids: list[int] = []
        for word, _ in self._backend.pre_tokenizer.pre_tokenize_str(text):
            if word == "<start_of_text>":
                ids.append(self.settings.start)
            elif word == "<end_of_text>":
                ids.append(self.settings.end)
            else:
                ids.extend(token.id for token in self._backend.model.tokenize(word))
        return ids


def clean(text: str, cleaning: Cleaning) -> str:
    """OpenCLIP's text cleaning: mojibake, HTML entities, white space, then letter case or punctuation.

    `canonicalize` is big_vision's: lower case, no punctuation.
    """
    if not _PLAIN.fullmatch(text):
        import ftfy  # takes 90 ms, which most queries in English need not spend

        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    if cleaning == "canonicalize":
        text = text.strip().replace("_", " ").translate(_NO_PUNCTUATION).lower()
        return " ".join(text.split())
    text = " ".join(text.split())
    return text.lower() if cleaning == "lower" else text
