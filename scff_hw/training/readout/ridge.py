"""Ridge regression on one-hot labels in closed form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scff_hw.training.readout.convex import TOLERANCE, ConvexSolver, Solution


@dataclass(frozen=True)
class Moments:
    """Moments of the scaled columns and the one-hot labels, float64.

    Attributes:
        gram: covariance of the columns `[F, F]`.
        cross: covariance of columns and labels `[F, classes]`.
        mean: mean of each column `[F]`.
        shares: share of each class `[classes]`.
    """

    gram: Tensor
    cross: Tensor
    mean: Tensor
    shares: Tensor


class RidgeSolver(ConvexSolver):
    """Minimises half the mean squared error + strength / 2 * |weight|^2 over scaled columns; biases are not penalised.

    Needs memory for `F x F` products of columns, which are computed in float32 and summed in float64.
    """

    name = "ridge"
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._moments: list[tuple[Tensor, Moments]] = []

    def solve(
        self,
        strength: float,
        fitted: Tensor,
        start: tuple[Tensor, Tensor],
        stopped: Callable[[], bool],
        tolerance: float = TOLERANCE,
    ) -> Solution:
        moments = next((known for samples, known in self._moments if torch.equal(samples, fitted)), None)
        if moments is None:  # once per fold, for all strengths
            moments = self._measured(fitted, stopped)
            self._moments.append((fitted, moments))
        system = moments.gram + strength * torch.eye(len(moments.gram)).to(moments.gram)
        weight = torch.cholesky_solve(moments.cross, torch.linalg.cholesky(system)).T
        residual = float((system @ weight.T - moments.cross).norm()) / (float(moments.cross.norm()) or 1.0)
        return Solution(weight, moments.shares - weight @ moments.mean, 1, residual, residual <= TOLERANCE)

    def _measured(self, fitted: Tensor, stopped: Callable[[], bool]) -> Moments:
        columns, width = self.columns, len(self.columns)
        like = columns.mean
        gram, cross = like.new_zeros(width, width), like.new_zeros(width, self.classes)
        sums, counts, samples = like.new_zeros(width), like.new_zeros(self.classes), 0.0
        for block in columns.blocks():
            if stopped():
                raise KeyboardInterrupt
            counted = fitted[block.rows].float()[:, None]
            x = (block.x - columns.mean.float()) * columns.inverse.float() * counted
            y = F.one_hot(block.y, self.classes).float() * counted
            gram += x.T @ x
            cross += x.T @ y
            sums += x.sum(dim=0)
            counts += y.sum(dim=0)
            samples += float(counted.sum())
        mean, shares = sums / samples, counts / samples
        return Moments(gram / samples - mean.outer(mean), cross / samples - mean.outer(shares), mean, shares)
