"""The built-in model's shape, in OpenCLIP's own terms."""

from __future__ import annotations

from typing import Any

from clipsearch.builtin.augment import MEAN, STD
from clipsearch.builtin.tokenizer import CONTEXT_LENGTH


def open_clip_config(vocabulary: int, side: int, resize_mode: str = "squash") -> dict[str, Any]:
    """Return the contents of `open_clip_config.json` for pictures of `side` pixels."""
    return {
        "model_cfg": {
            "embed_dim": 256,
            "vision_cfg": {
                "image_size": side,
                "timm_model_name": "fasternet_t0",
                "timm_model_pretrained": False,
                "timm_pool": "avg",
                "timm_proj": "",
            },
            "text_cfg": {
                "context_length": CONTEXT_LENGTH,
                "vocab_size": vocabulary,
                "hf_tokenizer_name": "builtin",
                "tokenizer_kwargs": {"clean": "whitespace"},
                "width": 192,
                "heads": 3,
                "layers": 2,
                "pool_type": "argmax",
                "pad_id": 0,
            },
        },
        "preprocess_cfg": {
            "mean": list(MEAN),
            "std": list(STD),
            "interpolation": "bicubic",
            "resize_mode": resize_mode,
        },
    }
