"""Writes a trained model as an ordinary OpenCLIP folder."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file

from clipsearch.builtin.tokenizer import CONTEXT_LENGTH, END, PAD, START

if TYPE_CHECKING:
    from pathlib import Path

    from open_clip import CLIP
    from tokenizers import Tokenizer


def write_model(folder: Path, model: CLIP, tokenizer: Tokenizer, config: dict[str, Any]) -> None:
    """Write config, float16 weights and tokenizer into `folder`.

    The result loads with ``open_clip.create_model_and_transforms("local-dir:<folder>")``.
    `tokenizer.json` is complete for the `tokenizers` package; `tokenizer_config.json`
    only names its special tokens for those who come through `transformers`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": CONTEXT_LENGTH,
        "pad_token": PAD,
        "bos_token": START,
        "eos_token": END,
    }
    for name, content in (("open_clip_config.json", config), ("tokenizer_config.json", names)):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    weights = {
        name: (value.to(torch.float16) if value.is_floating_point() else value).contiguous().cpu()
        for name, value in model.state_dict().items()
    }
    save_file(weights, folder / "open_clip_model.safetensors")
