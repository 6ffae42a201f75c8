"""The training program: its losses against plain arithmetic, and a short run that stops and goes on."""

from __future__ import annotations

import io
import math
import zipfile
from typing import TYPE_CHECKING

import open_clip
import pytest
import torch
from safetensors.torch import load_file

from clipsearch.builtin.muon import orthogonal
from clipsearch.builtin.objective import (
    ImageMemory,
    Pairs,
    encode_images,
    label_aware_info_nce,
    sigmoid_loss,
)
from clipsearch.builtin.options import options_from
from clipsearch.builtin.scenes import render
from clipsearch.builtin.train import CURVE_HEADER, train

if TYPE_CHECKING:
    from pathlib import Path

    from clipsearch.builtin.options import Options

LABELS = {
    "tiny200": ["slug", "altar", "pizza", "teapot", "tabby"],
    "caltech101": ["Faces", "pizza"],
    "grocery": ["Potato|Sweet Potato"],
    "clothing": ["Hoodie", "T-Shirt"],
}


def test_with_one_true_pair_each_the_loss_is_cross_entropy_both_ways() -> None:
    logits = torch.randn(6, 6, generator=torch.Generator().manual_seed(1)) * 3
    truth = torch.eye(6, dtype=torch.int8)
    diagonal = torch.arange(6)
    cross_entropy = torch.nn.functional.cross_entropy
    expected = (cross_entropy(logits, diagonal) + cross_entropy(logits.T, diagonal)) / 2
    assert float(label_aware_info_nce(logits, truth)) == pytest.approx(float(expected), rel=1e-5)


def test_another_true_caption_is_no_negative() -> None:
    truth = torch.tensor([[1, 1, 0], [0, 0, 1]], dtype=torch.int8)
    logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 0.0, 2.0]])
    rivals = logits.clone()
    rivals[0, 1] = 9.0  # a second true caption that fits even better
    assert float(label_aware_info_nce(rivals, truth)) < float(label_aware_info_nce(logits, truth))


def test_unknown_pairs_take_no_part() -> None:
    truth = torch.tensor([[1, 0, -1], [0, 1, 0]], dtype=torch.int8)
    logits = torch.randn(2, 3, generator=torch.Generator().manual_seed(2))
    changed = logits.clone()
    changed[0, 2] = 50.0
    assert torch.equal(sigmoid_loss(changed, truth), sigmoid_loss(logits, truth))
    assert torch.equal(label_aware_info_nce(changed, truth), label_aware_info_nce(logits, truth))


def test_the_sigmoid_loss_judges_every_pair_alone() -> None:
    logits, truth = [[2.0, -1.0], [0.5, 3.0]], [[1, 0], [0, 1]]
    losses = [
        math.log(1 + math.exp(-logit if true else logit))
        for row, truths in zip(logits, truth, strict=True)
        for logit, true in zip(row, truths, strict=True)
    ]
    measured = sigmoid_loss(torch.tensor(logits), torch.tensor(truth, dtype=torch.int8))
    assert float(measured) == pytest.approx(sum(losses) / 2, rel=1e-5)


def test_remembered_images_are_alternatives_for_the_texts_alone() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    truth = torch.eye(2, dtype=torch.int8)
    older = torch.tensor([[9.0, -9.0]])
    wrong, right, unknown = (
        float(label_aware_info_nce(logits, truth, images=Pairs(older, marks[None])))
        for marks in torch.tensor([[0, 0], [1, 0], [-1, -1]], dtype=torch.int8)
    )
    assert unknown == pytest.approx(float(label_aware_info_nce(logits, truth)))
    assert right < unknown < wrong


def test_the_image_memory_keeps_the_latest_and_knows_what_they_show() -> None:
    memory = ImageMemory(4, 2, concepts=3, device="cpu")
    named = torch.tensor([2, -1, 0])
    assert (memory.truth_of(named) == -1).all(), "nothing is known of what was never seen"
    for number in range(3):
        truth = torch.zeros(2, 3, dtype=torch.int8)
        truth[:, number] = 1
        memory.remember(torch.full((2, 2), float(number)), truth)
    assert memory.rows[:, 0].tolist() == [2, 2, 1, 1]
    assert memory.truth_of(named).tolist() == [[1, -1, 0], [1, -1, 0], [0, -1, 0], [0, -1, 0]]


@pytest.mark.parametrize("shape", [(8, 40), (40, 8), (16, 16)])
def test_an_orthogonal_step_keeps_directions_and_evens_their_lengths(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    made = left.T @ orthogonal(matrix) @ right.T
    lengths = made.diagonal()
    assert (made - lengths.diag()).abs().max() < 1e-3
    # The iteration is tuned to come near 1 fast, not to converge: its authors give 0.7 to 1.2.
    assert 0.5 < lengths.min() <= lengths.max() < 1.3


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Archives as the real ones are laid out, of painted pictures under real labels."""
    folder = tmp_path_factory.mktemp("train")
    for dataset, labels in LABELS.items():
        rows = ["file\tlabel\tsplit"]
        with zipfile.ZipFile(folder / f"{dataset}.zip", "w") as archive:
            for number in range(20):
                name = f"{number:06}.webp"
                encoded = io.BytesIO()
                render(number, 64).image.save(encoded, "webp")
                archive.writestr(name, encoded.getvalue())
                rows.append(f"{name}\t{labels[number % len(labels)]}\t{'val' if number < 5 else 'train'}")
            archive.writestr("labels.tsv", "\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pixels")


def options(data: Path, cache: Path, out: Path, *more: str) -> Options:
    fixed = "--steps 4 --warmup 1 --batch 32 --extra 4 --renders 24 --sides 48:0.5,64:1 --device cpu"
    places = ["--data", str(data), "--cache", str(cache), "--out", str(out)]
    return options_from([*places, *fixed.split(), *more])


@pytest.mark.slow
def test_a_run_that_stops_and_goes_on_ends_with_the_same_model(
    data: Path, cache: Path, tmp_path: Path
) -> None:
    train(options(data, cache, tmp_path / "whole"))
    train(options(data, cache, tmp_path / "halves", "--until", "2"))
    train(options(data, cache, tmp_path / "halves", "--resume"))
    whole, halves = (
        load_file(tmp_path / run / "model" / "open_clip_model.safetensors") for run in ("whole", "halves")
    )
    assert whole.keys() == halves.keys()
    # The remembered words live in the checkpoint too, so not even the last bit differs.
    assert all(torch.equal(whole[name], halves[name]) for name in whole)
    curve = (tmp_path / "halves" / "curve.tsv").read_text().splitlines()
    assert curve[0] + "\n" == CURVE_HEADER
    assert [line.split("\t")[0] for line in curve[1:]] == ["2", "4"]


def test_the_written_model_loads_as_any_openclip_model_and_embeds_as_in_training(
    data: Path, cache: Path, tmp_path: Path
) -> None:
    train(options(data, cache, tmp_path, "--until", "1"))
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'model'}")
    model.eval()
    pictures = torch.stack([transform(render(seed, 96).image) for seed in range(3)])
    with torch.inference_mode():
        trained, _ = encode_images(model, pictures)
        torch.testing.assert_close(model.encode_image(pictures, normalize=True), trained)
