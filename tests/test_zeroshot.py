"""Probabilities are those the model defines."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from mean_color import MODEL, MeanColor, unit

from clipsearch.errors import UsageError
from clipsearch.zeroshot import check_labels, check_templates, label_vectors, probabilities


def test_clip_models_give_the_softmax_of_scaled_cosines() -> None:
    cosines = np.array([[0.30, 0.25, 0.10]], np.float32)
    exact = np.exp(100 * cosines.astype(np.float64))
    found = probabilities(cosines, replace(MODEL, logit_scale=100.0))
    np.testing.assert_allclose(found, exact / exact.sum(), rtol=1e-5)
    assert found.sum() == pytest.approx(1)


def test_siglip_models_give_the_sigmoid_of_each_label_alone() -> None:
    cosines = np.array([[0.12, 0.05, -1.0, 1.0]], np.float32)
    found = probabilities(cosines, replace(MODEL, logit_scale=110.0, logit_bias=-16.5))
    exact = 1 / (1 + np.exp(-(110.0 * cosines.astype(np.float64) - 16.5)))
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-30)


def test_extreme_logits_neither_overflow_nor_warn() -> None:
    cosines = np.array([[1.0, -1.0]], np.float32)
    with np.errstate(all="raise", under="ignore"):
        assert probabilities(cosines, replace(MODEL, logit_scale=1e4)).tolist() == [[1, 0]]
        assert probabilities(cosines, replace(MODEL, logit_scale=1e4, logit_bias=0.0)).tolist() == [[1, 0]]


def test_templates_are_averaged_as_unit_vectors_and_brought_back_to_length_one() -> None:
    encoder = MeanColor()
    found = label_vectors(["red", "green"], ["{}", "{} blue"], encoder)
    for row, color in zip(found, ["red", "green"], strict=True):
        parts = encoder.encode([color, f"{color} blue"])
        np.testing.assert_allclose(row, unit(parts.mean(axis=0)), rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)


def test_labels_may_hold_braces_and_percent_signs() -> None:
    seen: list[str] = []

    class Echo(MeanColor):
        def encode(self, items):
            seen.extend(items)
            return np.ones((len(items), 3), np.float32)

    label_vectors(["100% {wool}", "{}"], ["a {}"], Echo())
    assert seen == ["a 100% {wool}", "a {}"]


@pytest.mark.parametrize(
    ("labels", "says"),
    [([], "no labels"), (["cat", " "], "empty label"), (["cat", "dog", " cat "], "given twice: 'cat'")],
)
def test_bad_labels_are_named(labels: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        check_labels(labels)


def test_a_template_without_a_place_for_the_label_is_refused() -> None:
    with pytest.raises(UsageError, match="a photo"):
        check_templates(["a photo"])
    with pytest.raises(UsageError):
        check_templates([])
