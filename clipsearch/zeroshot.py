"""Zero-shot classification: labels become vectors, cosines become probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clipsearch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from clipsearch.encoders import TextEncoder
    from clipsearch.types import Model

DEFAULT_TEMPLATES = ("a photo of a {}",)


def check_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """The labels, trimmed.

    Raises:
        UsageError: There are none, one is empty, or one comes twice.
    """
    trimmed = tuple(label.strip() for label in labels)
    if not trimmed or not all(trimmed):
        what = "empty label" if trimmed else "no labels"
        raise UsageError(what, "give some: --labels cat,dog or --labels-file FILE")
    seen: set[str] = set()
    for label in trimmed:
        if label in seen:
            raise UsageError(f"label given twice: {label!r}", "name each label once")
        seen.add(label)
    return trimmed


def check_templates(templates: Sequence[str]) -> tuple[str, ...]:
    """The prompt templates.

    Raises:
        UsageError: There are none, or one has no `{}` for the label.
    """
    if not templates:
        raise UsageError("no prompt template", 'name one: --template "a photo of a {}"')
    for template in templates:
        if "{}" not in template:
            raise UsageError(
                f"no {{}} in the template {template!r}", 'the label goes there: "a photo of a {}"'
            )
    return tuple(templates)


def label_vectors(
    labels: Sequence[str], templates: Sequence[str], encoder: TextEncoder
) -> NDArray[np.float32]:
    """One unit vector a label: the mean of its prompts' embeddings, brought back to unit length.

    Prompt ensembling as in Radford et al. 2021 (CLIP), section 3.1.4.

    Returns:
        `(labels, dim)` float32, unit rows.
    """
    # Not str.format: a label or template may hold other braces.
    prompts = [template.replace("{}", label) for label in labels for template in templates]
    rows = encoder.encode(prompts).reshape(len(labels), len(templates), -1).mean(axis=1)
    means: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return means


def probabilities(cosines: NDArray[np.float32], model: Model) -> NDArray[np.float32]:
    """Probabilities exactly as the model defines them.

    Softmax over the labels of `logit_scale * cosine` for models trained with the softmax loss
    (CLIP); for models trained with the sigmoid loss (SigLIP, Zhai et al. 2023), each label alone:
    `1 / (1 + exp(-(logit_scale * cosine + logit_bias)))`.

    Args:
        cosines: `(n, labels)`.
        model: Gives scale and bias.

    Returns:
        `(n, labels)` float32.
    """
    logits = cosines.astype(np.float64) * model.logit_scale
    if model.logit_bias is not None:
        # exp never overflows: its argument is made negative first.
        logits += model.logit_bias
        small = np.exp(-np.abs(logits))
        chances = np.where(logits >= 0, 1 / (1 + small), small / (1 + small))
    else:
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        chances = odds / odds.sum(axis=1, keepdims=True)
    return np.asarray(chances, np.float32)
