"""Likelihood of a pulse series as a state-space model, and its maximum.

The device's conductance is a hidden state. A pulse changes it by the mean step plus pulse noise, which accumulates;
reading noise does not. Linearised about the smoothed states this is a linear Gaussian model whose joint precision is
tridiagonal: one LDL factorisation gives the smoothed states, the one-step-ahead predictions and thus the exact
likelihood (Durbin and Koopman, Time Series Analysis by State Space Methods, ch. 4 and 7). It is maximised by Fisher
scoring, whose matrix also gives the covariance of the estimates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import get_lapack_funcs

from scff_hw.hardware.pulse_models import Array, PulseModel

_factor, _solve = get_lapack_funcs(("pttrf", "pttrs"), dtype=np.float64)

START_VARIANCE = 4.0
"""Prior variance of the first state of a series, in squared half ranges: almost uninformative."""


@dataclass(frozen=True)
class Pulses:
    """Normalised readings of one device.

    Attributes:
        up: bool `[n - 1]`, True for up pulses.
        reading: float64 `[n]`, normalised conductance.
        seen: bool `[n]`, readings that are used.
        linked: bool `[n - 1]`, pulses whose step is used; not jumps and cuts between segments.
    """

    up: NDArray[np.bool_]
    reading: Array
    seen: NDArray[np.bool_]
    linked: NDArray[np.bool_]


@dataclass(frozen=True)
class Filtered:
    """Smoothed states and predictions of a model.

    Attributes:
        states: smoothed conductance `[n]`.
        pivots, diagonal, off: tridiagonal joint precision of the states, and its factorisation.
        error: reading minus its one-step-ahead prediction, `[n]`; 0 for unused readings.
        spread: variance of that prediction `[n]`; 1 / (2 pi) for unused readings.
    """

    states: Array
    pivots: Array
    diagonal: Array
    off: Array
    error: Array
    spread: Array

    @property
    def variances(self) -> Array:
        """Variances of the smoothed states, `[n]`."""
        backward, _, _ = _factor(self.diagonal[::-1].copy(), self.off[::-1].copy())
        return 1 / (self.pivots + backward[::-1] - self.diagonal)

    @property
    def scores(self) -> Array:
        """Log-likelihood of each reading given the previous ones; 0 for unused readings."""
        return -0.5 * (np.log(2 * np.pi * self.spread) + self.error**2 / self.spread)


@dataclass(frozen=True)
class Estimate:
    """Maximum-likelihood parameters.

    Attributes:
        values: `[p]`, in the order of the model's parameters.
        covariance: `[p, p]`; 0 for parameters at a limit, and for known bounds.
        at_limit: names of parameters at a limit.
        likelihood: logarithm of the likelihood.
        states: smoothed conductance `[n]`.
    """

    model: PulseModel
    values: Array
    covariance: Array
    at_limit: tuple[str, ...]
    likelihood: float
    states: Array

    def value(self, name: str) -> float:
        return float(self.values[self.model.index(name)])


def filtered(model: PulseModel, values: Array, pulses: Pulses, about: Array) -> Filtered:
    """Compute smoothed states and one-step-ahead predictions, linearised about the states `about` `[n]`."""
    steps = model.steps(values, about[:-1], pulses.up)
    slope = np.where(pulses.linked, steps.slope, 0.0)
    shift = np.where(pulses.linked, steps.after - slope * about[:-1], 0.0)
    variance = np.where(pulses.linked, np.maximum(steps.variance, 1e-14), START_VARIANCE)
    reading = np.exp(2 * values[model.index("reading")])
    diagonal = pulses.seen / reading
    diagonal[0] += 1 / START_VARIANCE
    diagonal[1:] += 1 / variance
    linking = slope**2 / variance
    diagonal[:-1] += linking
    off = -slope / variance
    right = pulses.seen * pulses.reading / reading
    right[1:] += shift / variance
    right[:-1] -= slope * shift / variance
    pivots, factors, failed = _factor(diagonal, off)
    states, _ = _solve(pivots, factors, right)
    if failed or not np.isfinite(states).all():
        raise FloatingPointError("the precision of the states is not positive")
    # forward elimination is the Kalman filter: undo the back substitution for the filtered means
    forward = pivots * states
    forward[:-1] += pivots[:-1] * factors * states[1:]
    information = np.maximum(pivots[:-1] - linking, 1e-12)
    mean = (forward[:-1] + slope * shift / variance) / information
    ahead = np.concatenate([[0.0], slope * mean + shift])
    spread = np.concatenate([[START_VARIANCE], slope**2 / information + variance]) + reading
    return Filtered(
        states,
        pivots,
        diagonal,
        off,
        np.where(pulses.seen, pulses.reading - ahead, 0.0),
        np.where(pulses.seen, spread, 1 / (2 * np.pi)),
    )


def estimate(model: PulseModel, pulses: Pulses, start: Array, about: Array, rounds: int = 4) -> Estimate:
    """Maximise the likelihood from the parameters `start`, linearised about the smoothed states."""
    low = np.array([parameter.low for parameter in model.parameters])
    high = np.array([parameter.high for parameter in model.parameters])
    values = np.clip(start, low, high)
    likelihood, information = -np.inf, np.eye(len(values))
    for _ in range(rounds):
        before = likelihood
        values, likelihood, information = _scoring(model, pulses, values, about, low, high)
        about = filtered(model, values, pulses, about).states
        if abs(likelihood - before) < 0.05:
            break
    width = 1e-4 * (high - low)
    limited = (values <= low + width) | (values >= high - width)
    covariance = np.zeros((len(values), len(values)))
    free = np.flatnonzero(~limited)
    if len(free):
        covariance[np.ix_(free, free)] = np.linalg.pinv(information[np.ix_(free, free)], hermitian=True)
    at_limit = tuple(
        one.name for one, there in zip(model.parameters, limited, strict=True) if there and not one.given
    )  # fmt: skip
    return Estimate(model, values, covariance, at_limit, likelihood, about)


def _scoring(
    model: PulseModel, pulses: Pulses, values: Array, about: Array, low: Array, high: Array
) -> tuple[Array, float, Array]:
    """Maximise the likelihood by Fisher scoring with Levenberg damping within limits, for a fixed linearisation.

    Returns:
        Parameters, log-likelihood and Fisher information.
    """
    current = filtered(model, values, pulses, about)
    likelihood = float(current.scores.sum())
    gradient, information = _derivatives(model, pulses, values, about, current, high)
    damping = 1e-3
    for _ in range(60):
        at_bound = ((values <= low) & (gradient < 0)) | ((values >= high) & (gradient > 0))
        free = np.flatnonzero(~at_bound)
        if not len(free):
            break
        matrix = information[np.ix_(free, free)]
        matrix = matrix + damping * np.diag(np.diag(matrix)) + 1e-6 * np.eye(len(free))
        step = np.zeros_like(values)
        step[free] = np.clip(np.linalg.solve(matrix, gradient[free]), -1, 1)
        tried = np.clip(values + step, low, high)
        try:
            candidate = filtered(model, tried, pulses, about)
            gain = float(candidate.scores.sum()) - likelihood
        except FloatingPointError:
            gain = -np.inf
        if gain < 0 or not np.isfinite(gain):
            damping *= 8
            if damping > 1e8:
                break
            continue
        values, current, likelihood = tried, candidate, likelihood + gain
        damping = max(damping / 5, 1e-9)
        gradient, information = _derivatives(model, pulses, values, about, current, high)
        if gain < 1e-3:
            break
    return values, likelihood, information


def _derivatives(
    model: PulseModel, pulses: Pulses, values: Array, about: Array, current: Filtered, high: Array
) -> tuple[Array, Array]:
    """Return the gradient of the log-likelihood `[p]` and its Fisher information `[p, p]`."""
    errors, spreads = [], []
    for index in range(len(values)):
        change = 1e-6 if values[index] + 1e-6 <= high[index] else -1e-6
        moved = values.copy()
        moved[index] += change
        other = filtered(model, moved, pulses, about)
        errors.append((other.error - current.error) / change)
        spreads.append((np.log(other.spread) - np.log(current.spread)) / change)
    by_error, by_spread = np.array(errors), np.array(spreads)
    scaled = current.error / current.spread
    gradient = -(by_error @ scaled) - 0.5 * by_spread @ (1 - current.error * scaled)
    information = (by_error / current.spread) @ by_error.T + 0.5 * by_spread @ by_spread.T
    return gradient, information


def without(pulses: Pulses, readings: NDArray[np.bool_]) -> Pulses:
    """Return the pulses without the readings of a mask `[n]`."""
    return replace(pulses, seen=pulses.seen & ~readings)


def restricted(fitted: Estimate, pulses: Pulses) -> Estimate:
    """Return the estimate with noise parameters of the restricted likelihood, which the fitted steps do not bias.

    Slow changes are due to pulse noise, but are also fitted by the parameters of the mean step; without correction the
    pulse noise is underestimated (Patterson and Thompson, Biometrika 1971).
    """
    model, values = fitted.model, fitted.values.copy()
    noise = [model.index("cycle"), model.index("reading")]
    names = [parameter.name for parameter in model.parameters]
    if any(names[index] in fitted.at_limit for index in noise):
        return fitted
    fixed = [
        i
        for i, one in enumerate(model.parameters)
        if i not in noise and one.name not in fitted.at_limit and not one.given
    ]
    high = np.array([parameter.high for parameter in model.parameters])

    def information(at: Array) -> Array:
        return _derivatives(model, pulses, at, fitted.states, filtered(model, at, pulses, fitted.states), high)[1]

    def determinant(at: Array) -> float:
        return float(np.linalg.slogdet(information(at)[np.ix_(fixed, fixed)] + 1e-9 * np.eye(len(fixed)))[1])

    gradient = []
    for index in noise:
        ends = []
        for change in (-0.05, 0.05):
            moved = values.copy()
            moved[index] += change
            ends.append(determinant(moved))
        gradient.append(-0.5 * (ends[1] - ends[0]) / 0.1)
    matrix = information(values)[np.ix_(noise, noise)]
    values[noise] += np.clip(np.linalg.solve(matrix + 1e-9 * np.eye(2), gradient), -0.5, 0.5)
    states = filtered(model, values, pulses, fitted.states).states
    return replace(fitted, values=values, states=states)
