"""Ridge regression on one-hot labels in closed form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from scff_hw.training.readout.moments import Moments
from scff_hw.training.readout.strength import TOLERANCE, ConvexSolver, Solution


class RidgeSolver(ConvexSolver):
    """Minimises half the mean squared error + strength / 2 * |weight|^2 over scaled columns; biases are not penalised.

    It stores `F x F` float64 values per fold.
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
            moments = Moments.of(self.columns, self.classes, fitted, stopped)
            self._moments.append((fitted, moments))
        system = moments.gram + strength * torch.eye(len(moments.gram)).to(moments.gram)
        weight = torch.cholesky_solve(moments.cross, torch.linalg.cholesky(system)).T
        residual = float((system @ weight.T - moments.cross).norm()) / (float(moments.cross.norm()) or 1.0)
        return Solution(weight, moments.shares - weight @ moments.mean, 1, residual, residual <= TOLERANCE)
