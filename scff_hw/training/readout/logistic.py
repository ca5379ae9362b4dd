"""Multinomial logistic regression by L-BFGS (scipy), streamed over the features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from scff_hw.training.readout.columns import Columns
from scff_hw.training.readout.convex import TOLERANCE, ConvexSolver, Solution

MAX_ITERATIONS = 2000
"""A fit with more iterations has not converged."""

MEMORY = 20
"""Number of earlier gradients that L-BFGS keeps."""


class LogisticSolver(ConvexSolver):
    """Minimises mean cross-entropy + strength / 2 * |weight|^2 over scaled columns; biases are not penalised.

    Matrix products are in float32, sums over samples in float64.
    """

    name = "logistic"

    def solve(
        self,
        strength: float,
        fitted: Tensor,
        start: tuple[Tensor, Tensor],
        stopped: Callable[[], bool],
        tolerance: float = TOLERANCE,
    ) -> Solution:
        loss = _Loss(self.columns, self.classes, fitted, strength, stopped)
        first = torch.cat([start[0].flatten(), start[1]]).cpu().numpy()
        loss.at_zero()

        def until_converged(intermediate_result: object) -> None:
            if loss.gradient <= tolerance:
                raise StopIteration

        limits = {"maxiter": MAX_ITERATIONS, "maxfun": 2 * MAX_ITERATIONS, "maxcor": MEMORY, "ftol": 0.0, "gtol": 0.0}
        result = minimize(loss, first, jac=True, method="L-BFGS-B", callback=until_converged, options=limits)
        if not np.array_equal(result.x, loss.point):
            loss(result.x)  # the line search went further than the result
        weight, bias = loss.unpacked(result.x)
        return Solution(weight, bias, int(result.nit), loss.gradient, loss.gradient <= TOLERANCE)


@dataclass
class _Loss:
    """The loss and its gradient; `gradient` is the norm at `point`, evaluated last, as a share of that at zero."""

    columns: Columns
    classes: int
    fitted: Tensor
    strength: float
    stopped: Callable[[], bool]
    gradient: float = field(default=0.0, init=False)
    point: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0), init=False)
    _reference: float = field(default=1.0, init=False)

    def at_zero(self) -> None:
        """Compute the norm that gradients are compared with."""
        self(np.zeros(self.classes * (len(self.columns) + 1)))
        self._reference = self.gradient or 1.0

    def unpacked(self, point: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
        values = torch.from_numpy(point.copy()).to(self.columns.mean)
        count = self.classes * len(self.columns)
        return values[:count].view(self.classes, -1), values[count:]

    def __call__(self, point: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        if self.stopped():
            raise KeyboardInterrupt
        self.point = point.copy()
        weight, bias = self.unpacked(point)
        columns = self.columns
        unscaled, shifted = columns.folded(weight, bias)
        loss = weight.new_zeros(())
        outer, errors = torch.zeros_like(weight), torch.zeros_like(bias)
        for block in columns.blocks():
            # classes first: reductions over a short last axis are slow
            log_p = torch.addmm(shifted[:, None], unscaled, block.x.T).double().log_softmax(dim=0)
            counted = self.fitted[block.rows]
            loss -= log_p.gather(0, block.y[None, :])[0] @ counted
            error = log_p.exp_()
            error.scatter_add_(0, block.y[None, :], error.new_full((1, len(block.y)), -1.0))
            error *= counted
            outer += error.float() @ block.x
            errors += error.sum(dim=1)
        samples = float(self.fitted.sum()) * columns.source.version_count
        slope = errors / samples
        gradient = (outer / samples - slope[:, None] * columns.mean) * columns.inverse + self.strength * weight
        flat = torch.cat([gradient.flatten(), slope])
        self.gradient = float(flat.norm()) / self._reference
        total = float(loss) / samples + self.strength / 2 * float(weight.square().sum())
        return total, flat.cpu().numpy()
