"""What the presets cost, side by side: `python -m benchmarks.presets`.

Random weights: speed and size do not depend on their values. Seconds are those of one core, as the operating
system counts them, so that they hold on a machine with other work to do as well. Float32 with torch, as
OpenCLIP computes; indexing on a CPU takes ONNX Runtime, often in 8 bits, where that is faster.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

ARCHITECTURES = ("ViT-B-32-256", "ViT-B-32-SigLIP2-256", "ViT-B-16-SigLIP2", "MobileCLIP2-S0")
_BATCH = 4


def cost(call: Callable[[], Any], rounds: int) -> float:
    """Seconds of one core, the least of some rounds."""
    found = []
    for _ in range(rounds + 1):
        started = time.process_time()
        call()
        found.append(time.process_time() - started)
    return min(found[1:])  # the first one also makes memory ready


def measure(network: Any, text: dict[str, Any], rounds: int) -> tuple[float, float, float]:
    """Millions of parameters; seconds of one core for a picture, and for a text."""
    import torch

    torch.set_num_threads(1)
    network.eval()
    height, width = network.visual.image_size
    pictures = torch.rand(_BATCH, 3, height, width)
    ids = torch.ones(1, int(text.get("context_length", 77)), dtype=torch.long)
    with torch.inference_mode():
        picture = cost(lambda: network.encode_image(pictures), rounds) / _BATCH
        query = cost(lambda: network.encode_text(ids), rounds)
    return sum(value.numel() for value in network.state_dict().values()) / 1e6, picture, query


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("models", nargs="*", default=[*ARCHITECTURES, "builtin"])
    options = parser.parse_args()
    import open_clip

    from clipsearch.builtin import MODEL_DIR

    print(f"{'model':24} {'million':>8} {'MB':>6} {'ms a picture':>13} {'ratio':>6} {'ms a text':>10}")
    first = 0.0
    for name in options.models:
        if name == "builtin":
            config = json.loads((Path(MODEL_DIR) / "open_clip_config.json").read_text())["model_cfg"]
            network, _ = open_clip.create_model_from_pretrained(f"local-dir:{MODEL_DIR}")
        else:
            config, network = open_clip.get_model_config(name), open_clip.create_model(name)
        million, picture, text = measure(network, config["text_cfg"], options.rounds)
        first = first or picture
        size = f"{million:8.1f} {4 * million:6.0f}"
        speed = f"{1000 * picture:13.1f} {picture / first:6.2f} {1000 * text:10.1f}"
        print(f"{name:24} {size} {speed}", flush=True)
        del network


if __name__ == "__main__":
    main()
