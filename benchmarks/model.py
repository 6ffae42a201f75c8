"""The model of both sides: ViT-B-32-256 with random weights. Speed does not depend on their values.

Imports torch; call it through `benchmarks.process.in_own_process`.
"""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

ARCHITECTURE = "ViT-B-32-256"
_SEED = 0


def make_model(folder: Path) -> None:
    """Write the model in OpenCLIP's hub layout: `open_clip_config.json` and its safetensors."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(_SEED)
    network = open_clip.create_model(ARCHITECTURE)
    written = {
        "model_cfg": open_clip.get_model_config(ARCHITECTURE),
        "preprocess_cfg": {
            "mean": list(open_clip.OPENAI_DATASET_MEAN),
            "std": list(open_clip.OPENAI_DATASET_STD),
            "interpolation": "bicubic",
            "resize_mode": "shortest",
        },
    }
    (folder / "open_clip_config.json").write_text(json.dumps(written, indent=2), encoding="utf-8")
    save_file(
        {name: value.contiguous() for name, value in network.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )


def export_for_rclip(model: Path, folder: Path) -> None:
    """Export a model as rclip's own are published: two float32 graphs by the TorchScript exporter.

    Args:
        model: A folder that `make_model` filled.
        folder: Gets `visual.onnx` and `textual.onnx`, each from `input` to `output` in batches of any size.
    """
    import open_clip
    import torch

    network: Any = open_clip.create_model(ARCHITECTURE, pretrained=str(model / "open_clip_model.safetensors"))
    network.eval()
    size = network.visual.image_size[0]
    torch.backends.mha.set_fastpath_enabled(False)  # it has no ONNX operator

    class Textual(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.network.encode_text(ids)
            return found

    towers: dict[str, tuple[torch.nn.Module, torch.Tensor]] = {
        "visual": (network.visual, torch.zeros(1, 3, size, size)),
        "textual": (Textual().eval(), torch.zeros(1, network.context_length, dtype=torch.long)),
    }
    for name, (tower, example) in towers.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter is deprecated; the peer's models come from it
            torch.onnx.export(
                tower,
                (example,),
                folder / f"{name}.onnx",
                input_names=["input"],
                output_names=["output"],
                dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}},
                opset_version=18,
                dynamo=False,
            )


def copy_vocabulary(target: Path) -> None:
    """Copy OpenCLIP's vocabulary, which rclip reads as it is."""
    import open_clip

    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(open_clip.__file__).with_name("bpe_simple_vocab_16e6.txt.gz"), target)
