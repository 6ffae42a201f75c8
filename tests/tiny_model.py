"""A tiny OpenCLIP model with random weights, in OpenCLIP's hub layout, made in about a second."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

IMAGE_SIZE = 32
DIM = 16


def tiny_config(*, siglip: bool = False) -> dict[str, Any]:
    """Returns `model_cfg` for OpenCLIP: CLIP's own tokenizer, 32 px, two layers a tower, under 4 MB."""
    # 49408 words x 16 floats x 4 bytes = 3.2 MB: CLIP's vocabulary is nearly all of the file.
    text: dict[str, Any] = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
    config: dict[str, Any] = {
        "embed_dim": DIM,
        "vision_cfg": {"image_size": IMAGE_SIZE, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
        "text_cfg": text,
    }
    if siglip:
        config |= {"custom_text": True, "init_logit_bias": -10}
        text |= {
            "context_length": 64,
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
            "norm_kwargs": {"eps": 1e-6},
            "act_kwargs": {"approximate": "tanh"},
        }
    return config


def make_local_dir(folder: Path, *, seed: int = 0, siglip: bool = False) -> Path:
    """Write `open_clip_config.json` and `open_clip_model.safetensors` of a random model.

    Args:
        folder: Made when missing.
        seed: Same seed, same weights.
        siglip: A text tower and a loss as SigLIP's (no causal mask, last token, logit bias,
            pictures squashed), else as CLIP's.

    Returns:
        `folder`, for `local-dir:` or, served by a hub, for `hf-hub:`.
    """
    import open_clip
    import torch
    from safetensors.torch import save_file

    config = tiny_config(siglip=siglip)
    preprocess: dict[str, Any] = {"mean": [0.48145466, 0.4578275, 0.40821073]}
    preprocess |= {"std": [0.26862954, 0.26130258, 0.27577711], "interpolation": "bicubic"}
    preprocess |= {"resize_mode": "shortest"}
    if siglip:
        preprocess |= {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"}

    arguments = {key: value for key, value in config.items() if key != "custom_text"}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = (open_clip.CustomTextCLIP if siglip else open_clip.CLIP)(**arguments)
        for name, weight in model.named_parameters():
            # OpenCLIP starts biases at zero and norms at one; a test that mixes them up should notice.
            if weight.ndim == 1 and weight.numel() > 1:
                weight.data += 0.05 * torch.randn_like(weight)
            elif "token_embedding" in name:
                weight.data *= 20  # so that texts differ as much as pictures do
            elif "attn" in name:
                weight.data *= 4  # the pooled token hears the others
    folder.mkdir(parents=True, exist_ok=True)
    written = {"model_cfg": config, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(written, indent=2), encoding="utf-8")
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    return folder


def make_coca(folder: Path, *, seed: int = 0) -> Path:
    """Write a random CoCa model, which captions pictures: see `make_local_dir`."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    small = {"context_length": 76, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
    config: dict[str, Any] = {
        "embed_dim": DIM,
        "vision_cfg": {
            "image_size": IMAGE_SIZE,
            "layers": 2,
            "width": 32,
            "head_width": 16,
            "patch_size": 8,
            "attentional_pool": True,
            "attn_pooler_heads": 2,
            "attn_pooler_queries": 8,
            "output_tokens": True,
        },
        "text_cfg": small | {"embed_cls": True, "output_tokens": True},
        "multimodal_cfg": small | {"attn_pooler_heads": 2},
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = open_clip.CoCa(**config)
        for name, weight in model.named_parameters():
            if "text_projection" in name:  # OpenCLIP leaves the decoder's as the memory was
                weight.data = torch.randn_like(weight)
            elif "token_embedding" in name or "cross_attn" in name or "attn_pool" in name:
                weight.data = torch.randn_like(weight)  # so that captions differ between pictures
    folder.mkdir(parents=True, exist_ok=True)
    described = {"model_cfg": config | {"custom_text": True}, "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(described), encoding="utf-8")
    save_file(
        {name: value.clone().contiguous() for name, value in model.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    return folder
