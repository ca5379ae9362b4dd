"""Update models as functions of conductance: mean step of a pulse, its noise, and their parameters.

Conductance is normalised per device, `x = (g - centre) / half`, so that its measured range is -1 to 1. Both directions
use one curve over `y`, which is `x` for up pulses and `-x` for down pulses:

    linear       U (1 - gamma y)
    exponential  U (1 - A exp(gamma y)) / (1 - A), not below 0

The step at `y = 0` is U. The noise of a pulse is `c` times the step at that conductance, or `c` times U ("constant").
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Array = NDArray[np.float64]

FLOOR_NOISE = math.log(1e-3)
"""Smallest logarithm of pulse noise over step that is distinguished from zero noise."""
FLOOR_READING = math.log(2e-5)
"""Smallest logarithm of reading noise over the half range that is distinguished from zero noise."""
CONSTANT_SHARE = 0.01
"""Cycle-to-cycle noise of an exponential device with constant noise; `cycle_to_cycle_add` is the remaining noise."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of the likelihood: start value and limits."""

    name: str
    start: float
    low: float
    high: float

    @property
    def given(self) -> bool:
        """Whether the parameter is known and not estimated."""
        return self.low == self.high


@dataclass(frozen=True)
class Steps:
    """Mean effect of one pulse, in normalised units; all arrays have the same shape.

    Attributes:
        after: mean conductance after the pulse.
        slope: derivative of `after` by the conductance before.
        variance: variance of the conductance after the pulse.
    """

    after: Array
    slope: Array
    variance: Array


@dataclass(frozen=True)
class PulseModel:
    """A model of noisy pulses, over a vector of parameters.

    Attributes:
        name: value of `device.model`.
        follows: pulse noise scales with the step; otherwise it is constant.
        convex: (up, down), exp-step: the curve is steepest far from its bound.
        clipped: (low, high), linear-step and exp-step: a hard bound was reached, and its conductance is fitted.
        floor: conductance 0 in normalised units, a lower limit of the bounds.
        known: (low, high), known bounds in normalised units; None if unknown.
    """

    name: str
    follows: bool = False
    convex: tuple[bool, bool] = (True, True)
    clipped: tuple[bool, bool] = (False, False)
    floor: float = -math.inf
    known: tuple[float | None, float | None] = (None, None)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """All parameters, in vector order."""
        params = []
        for side, direction in enumerate(("up", "down")):
            params.append(Parameter(f"step_{direction}", -4.0, -16.0, 1.0))
            if self.name == "exp-step":
                if self.convex[side]:
                    a, g = (0.0, -6.0, 6.0), (1.0, 0.1, 10.0)
                else:
                    a, g = (0.1, 1e-4, 0.97), (1.5, 0.1, 10.0)
                params += [Parameter(f"a_{direction}", *a), Parameter(f"g_{direction}", *g)]
            elif self.name == "soft-bounds":
                bound = self.known[1 - side]
                if bound is not None:
                    gamma = 1 / abs(bound)
                    params.append(Parameter(f"gamma_{direction}", gamma, gamma, gamma))
                    continue
                low = 0.05 if side == 0 or self.floor >= -1e-9 else max(0.05, min(1.2, -1 / self.floor))
                params.append(Parameter(f"gamma_{direction}", 0.5, low, 1.6))
            elif self.name == "linear-step":
                params.append(Parameter(f"gamma_{direction}", 0.5, 0.0, 1.6))
            else:
                params.append(Parameter(f"gamma_{direction}", 0.3, -1.0, 1.6))
        params += [
            Parameter("cycle", math.log(0.3), FLOOR_NOISE, math.log(100.0)),
            Parameter("reading", math.log(0.02), FLOOR_READING, 0.0),
        ]
        limits = (("low", -1.0, max(-1.3, self.floor), -0.5), ("high", 1.0, 0.5, 1.3))
        for clipped, bound, limit in zip(self.clipped, self.known, limits, strict=True):
            if clipped:
                params.append(Parameter(*limit) if bound is None else Parameter(limit[0], bound, bound, bound))
        return tuple(params)

    @property
    def unclipped(self) -> PulseModel:
        """The model without hard bounds, except known ones."""
        hard = self.name != "soft-bounds"
        return replace(self, clipped=(hard and self.known[0] is not None, hard and self.known[1] is not None))

    def unclipped_values(self, values: Array) -> Array:
        """Return the parameters of `unclipped`, from those of this model with any clipping."""
        plain = len(replace(self, clipped=(False, False)).parameters)
        bounds = [bound for bound in self.known if bound is not None] if any(self.unclipped.clipped) else []
        return np.concatenate([values[:plain], bounds])

    def index(self, name: str) -> int:
        """Return the index of a parameter in the vector."""
        return [parameter.name for parameter in self.parameters].index(name)

    def curve(self, values: Array, up: bool, y: Array) -> tuple[Array, Array]:
        """Return the mean step at `y` and its derivative, both of the shape of `y`."""
        start = 0 if up else self._width
        size = math.exp(values[start])
        if self.name != "exp-step":
            gamma = values[start + 1]
            return size * (1 - gamma * y), np.full_like(y, -size * gamma)
        factor, exponent = self.exponential(values, up)
        power = np.exp(np.clip(exponent * y, -50, 50))
        share = (1 - factor * power) / (1 - factor)
        positive = share > 0
        return size * np.where(positive, share, 0), size * np.where(
            positive, -factor * exponent * power / (1 - factor), 0
        )

    def exponential(self, values: Array, up: bool) -> tuple[float, float]:
        """Return A and gamma of an exponential curve."""
        start = 0 if up else self._width
        if self.convex[0 if up else 1]:
            return -math.exp(values[start + 1]), -values[start + 2]
        return values[start + 1], values[start + 2]

    def vanishing(self, values: Array) -> tuple[float, float]:
        """Return the conductances where the mean down and up steps are 0; infinite if there are none."""
        ends = []
        for side, up in ((0, True), (1, False)):
            if self.name == "exp-step":
                factor, exponent = self.exponential(values, up)
                ends.append(-math.log(factor) / exponent if factor > 0 else math.inf)
            else:
                gamma = values[side * self._width + 1]
                ends.append(1 / gamma if gamma > 0 else math.inf)
        return -float(ends[1]), float(ends[0])

    @property
    def _width(self) -> int:
        return 3 if self.name == "exp-step" else 2

    def bounds(self, values: Array) -> tuple[float, float]:
        """Return the lower and upper bound of the conductance; infinite if no bound was reached."""
        if self.name == "soft-bounds":
            return -1 / values[3], 1 / values[1]
        low = values[self.index("low")] if self.clipped[0] else -math.inf
        high = values[self.index("high")] if self.clipped[1] else math.inf
        return float(low), float(high)

    def steps(self, values: Array, x: Array, up: NDArray[np.bool_]) -> Steps:
        """Return the effect of one pulse at each conductance `x` in direction `up`; a bound also clips the noise."""
        low, high = self.bounds(values)
        after, slope, variance = np.empty_like(x), np.empty_like(x), np.empty_like(x)
        cycle = math.exp(values[self.index("cycle")])
        for going_up, chosen, bound in ((True, up, high), (False, ~up, -low)):
            y = x[chosen] if going_up else -x[chosen]
            step, derivative = self.curve(values, going_up, y)
            size = math.exp(values[0 if going_up else self._width])
            if self.follows:
                sigma = cycle * np.abs(step)
            elif self.name == "exp-step":
                sigma = CONSTANT_SHARE * step + cycle * (math.exp(values[0]) + math.exp(values[3])) / 2
            else:
                sigma = np.full_like(step, cycle * size)
            sigma = np.maximum(sigma, 1e-7)
            y_after, inside, var = _cut(y + step, sigma, bound)
            after[chosen] = y_after if going_up else -y_after
            slope[chosen], variance[chosen] = inside * (1 + derivative), var
        return Steps(after, slope, variance)

    def run(self, values: Array, start: float, up: NDArray[np.bool_]) -> Array:
        """Return the noise-free trajectory `[n + 1]` from `start` over the pulses `up` `[n]`."""
        low, high = self.bounds(values)
        sizes = [math.exp(values[0]), math.exp(values[self._width])]
        curves = [self.exponential(values, going_up) for going_up in (True, False)] if self.name == "exp-step" else []
        gammas = [values[1], values[self._width + 1]]
        path = [start]
        for side, sign in ((0, 1.0) if going_up else (1, -1.0) for going_up in up.tolist()):
            y = sign * path[-1]
            if curves:
                factor, exponent = curves[side]
                share = max(0.0, (1 - factor * math.exp(exponent * y)) / (1 - factor))
            else:
                share = 1 - gammas[side] * y
            path.append(min(max(path[-1] + sign * sizes[side] * share, low), high))
        return np.array(path)


def _cut(mean: Array, sigma: Array, bound: float) -> tuple[Array, Array, Array]:
    """Return mean, probability below the bound, and variance of the minimum of a normal variable and a bound."""
    if not math.isfinite(bound):
        return mean, np.ones_like(mean), sigma**2
    over = mean - bound
    z = np.clip(-over / sigma, -30, 30)
    inside, density = ndtr(z), np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    first = over * inside - sigma * density
    second = (over**2 + sigma**2) * inside - over * sigma * density
    far = -over > 8 * sigma
    variance = np.where(far, sigma**2, np.maximum(second - first**2, 1e-14))
    return np.where(far, mean, bound + first), inside, variance
