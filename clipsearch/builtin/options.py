"""The options of a training run, and the command line that sets them."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Options:
    """Everything that decides how a run goes; the model card has the shipped model's settings."""

    data: Path
    out: Path
    cache: Path
    steps: int
    until: int
    batch: int
    extra: int
    lr: float
    muon_lr: float
    decay: float
    warmup: int
    sides: tuple[tuple[int, float], ...]
    queue: int
    sigmoid: float
    classifier: float
    rarity: float
    renders: int
    painted: float
    ema: float
    seed: int
    device: str
    precision: str
    threads: int
    log_every: int
    validate_every: int
    save_every: int
    workers: int
    resume: bool


def options_from(arguments: Sequence[str] | None = None) -> Options:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m clipsearch.builtin.train", description="Train the built-in model from scratch."
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the four training archives")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoint, curve and model")
    parser.add_argument("--cache", type=Path, help="folder for decoded pixels (default: OUT/cache)")
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--until", type=int, help="stop after this step (default: the last), for --resume")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--extra", type=int, default=16, help="captions per step beside the batch's own")
    parser.add_argument("--lr", type=float, default=2.5e-3, help="AdamW's full rate")
    parser.add_argument("--muon-lr", type=float, default=0.04, help="Muon's full rate")
    parser.add_argument("--decay", type=float, default=0.05, help="weight decay of matrices")
    parser.add_argument("--warmup", type=int, default=100, help="steps")
    parser.add_argument(
        "--sides",
        type=_sides,
        default="48:0.7,64:1",
        help="side in pixels up to which share of the steps: small pictures first are several times faster",
    )
    parser.add_argument("--queue", type=int, default=2048, help="images each worker remembers")
    parser.add_argument("--sigmoid", type=float, default=0.2, help="weight of the sigmoid loss")
    parser.add_argument("--classifier", type=float, default=0.5, help="weight of the auxiliary classifier")
    parser.add_argument("--rarity", type=float, default=1.0, help="how much rare words outweigh wide ones")
    parser.add_argument("--renders", type=int, default=30_000, help="rendered pictures to train on")
    parser.add_argument("--painted", type=float, default=0.12, help="share of each batch that is rendered")
    parser.add_argument("--ema", type=float, default=0.996, help="decay of the averaged weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda")
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    parser.add_argument("--threads", type=int, default=0, help="0: torch's own choice")
    parser.add_argument("--log-every", type=int, default=20)
    parser.add_argument("--validate-every", type=int, default=200)
    parser.add_argument("--save-every", type=int, default=50, help="steps")
    parser.add_argument(
        "--workers",
        type=int,
        default=1,
        help="processes that share each batch; on a busy CPU, two with one thread each lose far "
        "less than one with two",
    )
    parser.add_argument("--resume", action="store_true", help="continue from OUT/checkpoint.pt")
    given = vars(parser.parse_args(arguments))
    given["cache"] = given["cache"] or given["out"] / "cache"
    given["until"] = given["until"] or given["steps"]
    if given["device"] == "auto":
        given["device"] = "cuda" if torch.cuda.is_available() else "cpu"
    if given["precision"] == "auto":
        # On CPUs without bf16 instructions autocast is several times slower than float32.
        given["precision"] = "bf16" if given["device"] == "cuda" else "fp32"
    return Options(**given)


def _sides(text: str) -> tuple[tuple[int, float], ...]:
    parts = (part.split(":") for part in text.split(","))
    return tuple((int(side), float(share)) for side, share in parts)
