"""The Muon optimizer for convolutions and matrices, its work shared by the training's workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch import distributed as dist

if TYPE_CHECKING:
    from collections.abc import Iterable

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration that Muon uses (Keller Jordan et al., "Muon", 2024)."""
ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """Momentum whose step is made orthogonal, so that every direction of a layer learns alike.

    `torch.optim.Muon` takes matrices only; here a convolution counts as the matrix of its
    output channels by all of its inputs. Several workers orthogonalise a part of the
    layers each and exchange the results.
    """

    def __init__(
        self, parameters: Iterable[dict[str, Any]], lr: float, decay: float = 0.05, momentum: float = 0.95
    ) -> None:
        super().__init__(parameters, {"lr": lr, "decay": decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        """Take one step from the gradients, which must be the same on all workers."""
        for group in self.param_groups:
            parameters: list[Tensor] = [p for p in group["params"] if p.grad is not None]
            for parameter, update in zip(parameters, self._updates(parameters, group), strict=True):
                rows = parameter.shape[0]
                stretch = max(1.0, rows / (parameter.numel() // rows)) ** 0.5
                parameter.mul_(1 - group["lr"] * group["decay"])
                parameter.add_(update.view_as(parameter), alpha=-group["lr"] * stretch)

    def _updates(self, parameters: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
        shared = dist.is_initialized()
        workers, rank = (dist.get_world_size(), dist.get_rank()) if shared else (1, 0)
        together = torch.zeros(sum(p.numel() for p in parameters), device=parameters[0].device)
        updates = list(torch.split(together, [p.numel() for p in parameters]))
        owners = _owners(parameters, workers)
        for parameter, update, owner in zip(parameters, updates, owners, strict=True):
            gradient = parameter.grad
            assert gradient is not None  # noqa: S101 - chosen so in step
            state = self.state[parameter]
            if "mean" not in state:
                state["mean"] = torch.zeros_like(gradient)
            state["mean"].lerp_(gradient, 1 - group["momentum"])
            if owner == rank:
                ahead = gradient.lerp(state["mean"], group["momentum"])  # Nesterov's
                update.copy_(orthogonal(ahead.reshape(parameter.shape[0], -1)).reshape(-1))
        if shared:
            dist.all_reduce(together)
        return updates


def orthogonal(matrix: Tensor) -> Tensor:
    """Return the matrix (rows, columns) with its singular values brought near 1.

    The iteration X -> (aI + bA + cA^2) X with A = X X^T is carried out on A alone, which is
    small, and applied to X once: for long rows several times cheaper, and the same result.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonal(matrix.T).T
    a, b, c = COEFFICIENTS
    scaled = matrix / (matrix.norm() + 1e-7)
    gram = scaled @ scaled.T
    unit = torch.eye(len(gram), device=matrix.device)
    applied: Tensor = unit
    for _ in range(ITERATIONS):
        factor = a * unit + b * gram + c * (gram @ gram)
        applied = factor @ applied
        gram = factor @ gram @ factor
    made: Tensor = applied @ scaled
    return made


def _owners(parameters: list[Tensor], workers: int) -> list[int]:
    """Give each parameter, the dearest first, to the worker that has least to do."""
    costs = [p.numel() * min(p.shape[0], p.numel() // p.shape[0]) for p in parameters]
    busy = [0] * workers
    owners = [0] * len(parameters)
    for index in sorted(range(len(parameters)), key=lambda i: -costs[i]):
        owners[index] = busy.index(min(busy))
        busy[owners[index]] += costs[index]
    return owners
