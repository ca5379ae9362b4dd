"""Multinomial logistic regression by L-BFGS (scipy), streamed over the features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from scff_hw.training.readout.columns import Columns
from scff_hw.training.readout.moments import Moments
from scff_hw.training.readout.strength import TOLERANCE, ConvexSolver, Solution

MAX_ITERATIONS = 2000
"""Largest number of iterations; a fit that reaches it has not converged."""

MEMORY = 20
"""Number of earlier gradients that L-BFGS keeps."""


MOST_COLUMNS = 6000
"""Largest number of columns for which a fit is preconditioned with their covariance; beyond, only scales are used."""

LEAST_CURVATURE = 1e-4
"""Lower limit of the curvature of the loss in the preconditioning."""


class LogisticSolver(ConvexSolver):
    """Minimises mean cross-entropy + strength / 2 * |weight|^2 over scaled columns; biases are not penalised.

    L-BFGS runs in coordinates in which the Hessian is near the identity: in the eigenvectors of the covariance of the
    columns, scaled by the curvature of the loss at the start. This changes the number of iterations, not the solution.
    Matrix products over samples are in float32, sums over them in float64.
    """

    name = "logistic"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._basis: _Basis | None = None
        self._norms_at_zero: list[tuple[Tensor, float]] = []

    def solve(
        self,
        strength: float,
        fitted: Tensor,
        start: tuple[Tensor, Tensor],
        stopped: Callable[[], bool],
        tolerance: float = TOLERANCE,
    ) -> Solution:
        if self._basis is None:
            self._basis = _Basis.of(self.columns, self.classes, stopped)
        loss = _Loss(self.columns, self.classes, fitted, strength, stopped, self._norm_at_zero(fitted, stopped))
        start = start[0].to(self.columns.mean), start[1].to(self.columns.mean)
        loss(*start)
        coordinates = self._basis.coordinates(loss.curvature, strength)

        def value_and_gradient(point: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            value, weight, bias = loss(*coordinates.parameters(point))
            return value, coordinates.gradient(weight, bias)

        def until_converged(intermediate_result: object) -> None:
            if loss.gradient <= tolerance:
                raise StopIteration

        limits = {"maxiter": MAX_ITERATIONS, "maxfun": 2 * MAX_ITERATIONS, "maxcor": MEMORY, "ftol": 0.0, "gtol": 0.0}
        first = coordinates.point(*start)
        result = minimize(
            value_and_gradient, first, jac=True, method="L-BFGS-B", callback=until_converged, options=limits
        )
        weight, bias = coordinates.parameters(result.x)
        loss(weight, bias)  # the line search may have gone further than the result
        return Solution(weight, bias, int(result.nit), loss.gradient, loss.gradient <= TOLERANCE)

    def _norm_at_zero(self, fitted: Tensor, stopped: Callable[[], bool]) -> float:
        """Return the norm of the gradient at zero weights (independent of the strength), computed once per fold."""
        for samples, known in self._norms_at_zero:
            if torch.equal(samples, fitted):
                return known
        loss = _Loss(self.columns, self.classes, fitted, 0.0, stopped, 1.0)
        loss(fitted.new_zeros(self.classes, len(self.columns)), fitted.new_zeros(self.classes))
        self._norms_at_zero.append((fitted, loss.gradient or 1.0))
        return self._norms_at_zero[-1][1]


@dataclass(frozen=True)
class _Basis:
    """Eigenvalues `[F]` and eigenvectors `[F, F]` of the scaled columns' covariance; vectors None: unit vectors."""

    variances: Tensor
    vectors: Tensor | None

    @classmethod
    def of(cls, columns: Columns, classes: int, stopped: Callable[[], bool]) -> _Basis:
        if len(columns) > MOST_COLUMNS:
            return cls(torch.ones_like(columns.mean), None)
        everything = torch.ones(len(columns.labels), dtype=torch.float64, device=columns.mean.device)
        variances, vectors = torch.linalg.eigh(Moments.of(columns, classes, everything, stopped).gram)
        return cls(variances.clamp(min=0), vectors)

    def coordinates(self, curvature: float, strength: float) -> _Coordinates:
        curvature = max(curvature, LEAST_CURVATURE)
        scales = (curvature * self.variances + strength).rsqrt()
        return _Coordinates(self.vectors, scales, curvature**-0.5)


@dataclass(frozen=True)
class _Coordinates:
    """Coordinates of L-BFGS: `weight = (z * scales) @ vectors.T`, `bias = y * bias_scale`; a point is z and y, flat."""

    vectors: Tensor | None
    scales: Tensor
    bias_scale: float

    def point(self, weight: Tensor, bias: Tensor) -> NDArray[np.float64]:
        rotated = weight if self.vectors is None else weight @ self.vectors
        return _flat(rotated / self.scales, bias / self.bias_scale)

    def parameters(self, point: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
        values = torch.from_numpy(point.copy()).to(self.scales)
        classes = len(values) // (len(self.scales) + 1)
        scaled = values[:-classes].view(classes, -1) * self.scales
        return scaled if self.vectors is None else scaled @ self.vectors.T, values[-classes:] * self.bias_scale

    def gradient(self, weight: Tensor, bias: Tensor) -> NDArray[np.float64]:
        """Return the gradient with respect to the point, from those with respect to `weight` and `bias`."""
        rotated = weight if self.vectors is None else weight @ self.vectors
        return _flat(rotated * self.scales, bias * self.bias_scale)


def _flat(weight: Tensor, bias: Tensor) -> NDArray[np.float64]:
    return torch.cat([weight.flatten(), bias]).cpu().numpy()


@dataclass
class _Loss:
    """Regularised loss and its gradient.

    Attributes:
        norm_at_zero: norm of the gradient at zero weights.
        gradient: norm of the gradient at the last call, as a share of `norm_at_zero`.
        curvature: mean of p * (1 - p) over samples and classes at the last call.
    """

    columns: Columns
    classes: int
    fitted: Tensor
    strength: float
    stopped: Callable[[], bool]
    norm_at_zero: float
    gradient: float = field(default=0.0, init=False)
    curvature: float = field(default=0.0, init=False)

    def __call__(self, weight: Tensor, bias: Tensor) -> tuple[float, Tensor, Tensor]:
        """Return the loss and its gradients with respect to `weight` `[classes, F]` and `bias` `[classes]`."""
        if self.stopped():
            raise KeyboardInterrupt
        columns = self.columns
        unscaled, shifted = columns.folded(weight, bias)
        loss, squares = weight.new_zeros(()), weight.new_zeros(())
        outer, errors = torch.zeros_like(weight), torch.zeros_like(bias)
        for block in columns.blocks():
            # classes first: reductions over a short last axis are slow
            log_p = torch.addmm(shifted[:, None], unscaled, block.x.T).double().log_softmax(dim=0)
            counted = self.fitted[block.rows]
            loss -= log_p.gather(0, block.y[None, :])[0] @ counted
            error = log_p.exp_()
            squares += error.square().sum(dim=0) @ counted
            error.scatter_add_(0, block.y[None, :], error.new_full((1, len(block.y)), -1.0))
            error *= counted
            outer += error.float() @ block.x
            errors += error.sum(dim=1)
        samples = float(self.fitted.sum()) * columns.source.version_count
        slope = errors / samples
        gradient = (outer / samples - slope[:, None] * columns.mean) * columns.inverse + self.strength * weight
        self.gradient = float(torch.cat([gradient.flatten(), slope]).norm()) / self.norm_at_zero
        self.curvature = (1 - float(squares) / samples) / self.classes
        total = float(loss) / samples + self.strength / 2 * float(weight.square().sum())
        return total, gradient, slope
