"""A tokenizer's vocabulary in memory-mapped tables, for queries.

`tokenizers` reads all of its JSON into memory first: SigLIP2's 256,000 words and 600,000 merges take seconds
and 400 MB for a query of five words. Here a query touches the pages its own words lie on. The two models of
big vocabularies are known, as `tokenizers` computes them: byte-pair encoding (Gemma, NLLB; Sennrich et al.
2016) and unigram (XLM-R, mT5; Kudo 2018). Normalization and pre-tokenization stay those of `tokenizers`.
"""

from __future__ import annotations

import heapq
import json
import math
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray
    from tokenizers import Tokenizer as Backend

PIECES_NAME = "pieces.json"
_KEYS_NAME = "pieces.keys.npy"
_VALUES_NAME = "pieces.values.npy"
_VALUE = np.dtype([("id", "<u4"), ("weight", "<f8")])
_FORMAT = 1
_UNKNOWN_PENALTY = 10.0  # as in `tokenizers` and sentencepiece
_FRAME = ("version", "normalizer", "pre_tokenizer")


def write_pieces(path: Path, folder: Path, samples: Iterable[str]) -> bool:
    """Write the tables of a `tokenizer.json`.

    Args:
        path: The `tokenizer.json`.
        folder: Where to write.
        samples: Texts that must get the same ids from both.

    Returns:
        Whether there are some: not for other models, nor for options that nobody was seen to use.
    """
    from tokenizers import Tokenizer as Opened

    content = json.loads(path.read_text(encoding="utf-8"))
    backend = Opened.from_file(str(path))
    backend.no_padding()
    backend.no_truncation()
    ends = _ends(backend)
    model = content["model"]
    make = {"BPE": _merges_table, "Unigram": _unigram_table}.get(model.get("type", ""))
    try:
        table = make(model) if make else None
    except (KeyError, TypeError, ValueError):
        table = None  # `tokenizers` reads more forms of it
    if ends is None or table is None:
        return False
    keys, ids, weights, settings = table
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    if (keys[1:] == keys[:-1]).any():
        return False
    values = np.empty(len(keys), _VALUE)
    values["id"], values["weight"] = ids[order], weights[order]
    np.save(folder / _KEYS_NAME, keys)
    np.save(folder / _VALUES_NAME, values)
    settings |= {
        "format": _FORMAT,
        "type": model["type"],
        "before": ends[0],
        "after": ends[1],
        "added": [token["content"] for token in content.get("added_tokens", ())],
        "frame": {key: content.get(key) for key in _FRAME},
    }
    (folder / PIECES_NAME).write_text(json.dumps(settings, ensure_ascii=False), encoding="utf-8")
    pieces = Pieces(folder / PIECES_NAME)
    for text in samples:
        found = pieces.encode(text)
        if found is not None and found != backend.encode(text, add_special_tokens=False).ids:
            for name in (PIECES_NAME, _KEYS_NAME, _VALUES_NAME):
                (folder / name).unlink()
            return False
    return True


def _ends(backend: Backend) -> tuple[list[int], list[int]] | None:
    """What the post-processor puts before and after every text; None where it does something else."""
    before: list[int] = []
    after: list[int] = []
    for number, text in enumerate(("a", "", "a dog on the beach")):
        bare = backend.encode(text, add_special_tokens=False).ids
        whole = backend.encode(text).ids
        if number == 0:
            start = next((at for at in range(len(whole)) if whole[at : at + len(bare)] == bare), 0)
            before, after = whole[:start], whole[start + len(bare) :]
        if whole != [*before, *bare, *after]:
            return None
    return before, after


_Table = tuple["NDArray[np.uint64]", "NDArray[np.uint32]", "NDArray[np.float64]", dict[str, Any]]


def _merges_table(model: dict[str, Any]) -> _Table | None:
    """Letters and merges of byte-pair encoding: what a letter's or a pair's id and rank are."""
    options = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "ignore_merges")
    vocabulary: dict[str, int] = model["vocab"]
    spelled = [vocabulary.get(f"<0x{byte:02X}>") for byte in range(256)]
    if any(model.get(option) for option in options) or (model.get("byte_fallback") and None in spelled):
        return None
    keys = [ord(word) for word in vocabulary if len(word) == 1]
    ids = [index for word, index in vocabulary.items() if len(word) == 1]
    ranks = [0] * len(keys)
    pairs = {}
    for rank, pair in enumerate(model["merges"]):
        left, right = pair.split(" ") if isinstance(pair, str) else pair
        pairs[_pair(vocabulary[left], vocabulary[right])] = (vocabulary[left + right], rank)
    keys += pairs
    ids += [merged for merged, _ in pairs.values()]
    ranks += [rank for _, rank in pairs.values()]
    settings = {
        "unknown": vocabulary.get(model.get("unk_token") or ""),
        "fuses": bool(model.get("fuse_unk")),
        "bytes": spelled if model.get("byte_fallback") else None,
    }
    return np.array(keys, np.uint64), np.array(ids, np.uint32), np.array(ranks, np.float64), settings


def _unigram_table(model: dict[str, Any]) -> _Table | None:
    """Pieces of a unigram model: their ids and log probabilities."""
    if model.get("byte_fallback") or model.get("unk_id") is None:
        return None
    pieces = [piece for piece, _ in model["vocab"]]
    scores = [float(score) for _, score in model["vocab"]]
    settings = {
        "unknown": model["unk_id"],
        "longest": max(map(len, pieces)),
        "penalty": min(scores) - _UNKNOWN_PENALTY,
    }
    keys = np.array([_hash(piece) for piece in pieces], np.uint64)
    return keys, np.arange(len(pieces), dtype=np.uint32), np.array(scores), settings


def _pair(left: int, right: int) -> int:
    return (left + 1) << 32 | right  # above every letter


def _hash(piece: str) -> int:
    return int.from_bytes(blake2b(piece.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


class Pieces:
    """The tables of one model.

    Args:
        path: `pieces.json`, its tables beside it.

    Raises:
        OSError: They are not there.
        ValueError: They are damaged, or of another format.
    """

    def __init__(self, path: Path) -> None:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise ValueError(f"{path} is of another format")
        self._before: list[int] = content["before"]
        self._after: list[int] = content["after"]
        self._settings = content
        self._pieces_of = self._merged if content["type"] == "BPE" else self._likeliest
        # Plain arrays: looking something up in a `memmap` takes ten times as long.
        try:
            self._keys = np.asarray(np.load(path.with_name(_KEYS_NAME), mmap_mode="r"))
            values = np.asarray(np.load(path.with_name(_VALUES_NAME), mmap_mode="r"))
        except EOFError as error:
            raise ValueError(f"the tables of {path} are cut off") from error
        self._ids, self._weights = values["id"], values["weight"]

    def encode(self, text: str) -> list[int] | None:
        """Ids without those of the ends; None for a text with special tokens in it, which are no words."""
        added: list[str] = self._settings["added"]
        frame = self._frame
        normal = frame.normalizer.normalize_str(text) if frame.normalizer else text
        if any(token in text or token in normal for token in added):
            return None
        words = (
            [word for word, _ in frame.pre_tokenizer.pre_tokenize_str(normal)]
            if frame.pre_tokenizer
            else [normal]
        )
        return [found for word in words for found in self._pieces_of(word)]

    def between_ends(self, ids: list[int], length: int, *, cut_left: bool) -> list[int]:
        """A whole row: of a text that is too long its beginning or, with `cut_left`, its end."""
        room = max(length - len(self._before) - len(self._after), 0)
        kept = ids[max(len(ids) - room, 0) :] if cut_left else ids[:room]
        return [*self._before, *kept, *self._after]

    @cached_property
    def _frame(self) -> Backend:
        from tokenizers import Tokenizer as Opened

        model = {"type": "WordLevel", "vocab": {}, "unk_token": ""}
        return Opened.from_str(json.dumps({**self._settings["frame"], "model": model}))

    def _found(self, key: int) -> tuple[int, float] | None:
        """Id and weight of a key."""
        at = int(np.searchsorted(self._keys, np.uint64(key)))
        if at == len(self._keys) or int(self._keys[at]) != key:
            return None
        return int(self._ids[at]), float(self._weights[at])

    def _letters(self, word: str) -> list[int]:
        unknown, spelled = self._settings["unknown"], self._settings["bytes"]
        ids: list[int] = []
        was_unknown = False
        for letter in word:
            known = self._found(ord(letter))
            if known is not None:
                ids.append(known[0])
            elif spelled is not None:
                ids += [spelled[byte] for byte in letter.encode()]
            elif unknown is not None and not (was_unknown and self._settings["fuses"]):
                ids.append(unknown)
            was_unknown = known is None and spelled is None
        return ids

    def _merged(self, word: str) -> list[int]:
        """Byte-pair encoding: of all neighbours that merge, those learned first, the leftmost of equals."""
        symbols: list[int | None] = list(self._letters(word))
        count = len(symbols)
        before, after = list(range(-1, count - 1)), list(range(1, count + 1))
        queue: list[tuple[float, int, int]] = []

        def offer(left: int) -> None:
            right = after[left] if left >= 0 else count
            if right < count and (merge := self._merge(symbols[left], symbols[right])) is not None:
                heapq.heappush(queue, (merge[1], left, merge[0]))

        for left in range(count):
            offer(left)
        while queue:
            _, left, merged = heapq.heappop(queue)
            right = after[left]
            if symbols[left] is None or right >= count:
                continue
            now = self._merge(symbols[left], symbols[right])
            if now is None or now[0] != merged:
                continue  # its letters have gone into other merges meanwhile
            symbols[left], symbols[right] = merged, None
            after[left] = after[right]
            if after[right] < count:
                before[after[right]] = left
            offer(before[left])
            offer(left)
        return [symbol for symbol in symbols if symbol is not None]

    def _merge(self, left: int | None, right: int | None) -> tuple[int, float] | None:
        return None if left is None or right is None else self._found(_pair(left, right))

    def _likeliest(self, word: str) -> list[int]:
        """The likeliest pieces that make up a word (Viterbi's algorithm).

        Of segmentations that are equally likely, as of one letter repeated a hundred times, rounding decides.
        """
        settings, size = self._settings, len(word)
        spans = [
            (start, end)
            for start in range(size)
            for end in range(start + 1, min(size, start + settings["longest"]) + 1)
        ]
        hashes = np.array([_hash(word[start:end]) for start, end in spans], np.uint64)
        places = np.minimum(np.searchsorted(self._keys, hashes), len(self._keys) - 1)
        known = np.flatnonzero(self._keys[places] == hashes)
        starting: dict[int, list[tuple[int, int, float]]] = {}
        for span, index, score in zip(
            known.tolist(),
            self._ids[places[known]].tolist(),
            self._weights[places[known]].tolist(),
            strict=True,
        ):
            start, end = spans[span]
            starting.setdefault(start, []).append((end, index, score))
        best = [(-math.inf, -1, -1)] * (size + 1)  # score, start and id of the last piece
        best[0] = (0.0, -1, -1)
        for start in range(size):
            here, options = best[start][0], starting.get(start, [])
            if not any(end == start + 1 for end, _, _ in options):
                options = [*options, (start + 1, settings["unknown"], settings["penalty"])]
            for end, index, score in options:
                if best[end][1] < 0 or here + score > best[end][0]:
                    best[end] = (here + score, start, index)
        ids: list[int] = []
        at = size
        while at > 0:
            _, start, index = best[at]
            is_fused = index == settings["unknown"] and bool(ids) and ids[-1] == index
            if not is_fused:
                ids.append(index)
            at = start
        return ids[::-1]
