"""Makes the built-in model's tokenizer from the captions themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from clipsearch.builtin.captions import PHOTO_TEMPLATES, captions_of, concepts
from clipsearch.builtin.scenes import render

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CONTEXT_LENGTH: Final = 24
PAD, START, END = "<pad>", "<start>", "<end>"


def caption_corpus(renders: int = 6000, first_seed: int = 2_000_000) -> Iterator[str]:
    """Yield every way to name a concept, the templates, and captions of rendered pictures."""
    for concept in concepts().values():
        for caption in captions_of(concept):
            yield from [caption.text] * 4
    for template in PHOTO_TEMPLATES:
        yield from [template.replace("{}", "")] * 50
    for seed in range(first_seed, first_seed + renders):
        yield from render(seed, 8).captions


def train_tokenizer(corpus: Iterable[str], vocabulary: int = 3000) -> Tokenizer:
    """Train a byte-level BPE tokenizer that is complete in itself.

    It lower-cases, joins white space, adds a start and an end token, cuts and pads to
    :data:`CONTEXT_LENGTH`. Bytes are the alphabet, so no word is unknown. The pad token
    is id 0; the end token has the highest id, which is where OpenCLIP's default text
    pooling ("argmax") looks.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFC(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=[PAD, START],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_special_tokens([END])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in (START, END)],
    )
    tokenizer.enable_truncation(CONTEXT_LENGTH)
    tokenizer.enable_padding(pad_id=0, pad_token=PAD, length=CONTEXT_LENGTH)
    return tokenizer
