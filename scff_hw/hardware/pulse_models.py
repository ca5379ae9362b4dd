"""Update models as functions of conductance: the mean step of a pulse, its noise, and the parameters that set them.

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
"""Smallest logarithm of pulse noise over step that is told from none."""
FLOOR_READING = math.log(2e-5)
"""The same for reading noise over half the range."""
CONSTANT_SHARE = 0.01
"""Cycle-to-cycle noise of an exponential device whose noise is constant: its `cycle_to_cycle_add` holds the rest."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of the likelihood: start, lowest and highest."""

    name: str
    start: float
    low: float
    high: float

    @property
    def given(self) -> bool:
        """Known, so not estimated."""
        return self.low == self.high


@dataclass(frozen=True)
class Steps:
    """The mean of one pulse from a conductance, in normalised units; all arrays have one shape.

    Attributes:
        after: mean conductance after the pulse.
        slope: its derivative by the conductance before.
        variance: of the conductance after.
    """

    after: Array
    slope: Array
    variance: Array


@dataclass(frozen=True)
class PulseModel:
    """A model of pulses with noise, over a vector of parameters.

    Attributes:
        name: of `device.model`.
        follows: pulse noise follows the step, else it is constant.
        convex: per direction (up, down), exp-step: the curve is steepest far from its bound.
        clipped: (low, high), linear-step and exp-step: a hard bound was reached there, and its conductance is fitted.
        floor: conductance 0 in normalised units: no bound lies below.
        known: (low, high), bounds that are known from elsewhere, in normalised units; None is not known.
    """

    name: str
    follows: bool = False
    convex: tuple[bool, bool] = (True, True)
    clipped: tuple[bool, bool] = (False, False)
    floor: float = -math.inf
    known: tuple[float | None, float | None] = (None, None)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """All parameters, in the order of their vector."""
        found = []
        for side, direction in enumerate(("up", "down")):
            found.append(Parameter(f"step_{direction}", -4.0, -16.0, 1.0))
            if self.name == "exp-step":
                if self.convex[side]:
                    found += [Parameter(f"a_{direction}", 0.0, -6.0, 6.0), Parameter(f"g_{direction}", 1.0, 0.1, 10.0)]
                else:
                    found += [Parameter(f"a_{direction}", 0.1, 1e-4, 0.97), Parameter(f"g_{direction}", 1.5, 0.1, 10.0)]
            elif self.name == "soft-bounds":
                bound = self.known[1 - side]
                if bound is not None:
                    gamma = 1 / abs(bound)
                    found.append(Parameter(f"gamma_{direction}", gamma, gamma, gamma))
                    continue
                low = 0.05 if side == 0 or self.floor >= -1e-9 else max(0.05, min(1.2, -1 / self.floor))
                found.append(Parameter(f"gamma_{direction}", 0.5, low, 1.6))
            elif self.name == "linear-step":
                found.append(Parameter(f"gamma_{direction}", 0.5, 0.0, 1.6))
            else:
                found.append(Parameter(f"gamma_{direction}", 0.3, -1.0, 1.6))
        found += [
            Parameter("cycle", math.log(0.3), FLOOR_NOISE, math.log(100.0)),
            Parameter("reading", math.log(0.02), FLOOR_READING, 0.0),
        ]
        limits = (("low", -1.0, max(-1.3, self.floor), -0.5), ("high", 1.0, 0.5, 1.3))
        for clipped, bound, limit in zip(self.clipped, self.known, limits, strict=True):
            if clipped:
                found.append(Parameter(*limit) if bound is None else Parameter(limit[0], bound, bound, bound))
        return tuple(found)

    @property
    def unclipped(self) -> PulseModel:
        """The same without hard bounds, but for those that are known."""
        hard = self.name != "soft-bounds"
        return replace(self, clipped=(hard and self.known[0] is not None, hard and self.known[1] is not None))

    def unclipped_values(self, values: Array) -> Array:
        """The parameters of `unclipped` out of those of this or another clipping."""
        plain = len(replace(self, clipped=(False, False)).parameters)
        bounds = [bound for bound in self.known if bound is not None] if any(self.unclipped.clipped) else []
        return np.concatenate([values[:plain], bounds])

    def index(self, name: str) -> int:
        """Where a parameter is in the vector."""
        return [parameter.name for parameter in self.parameters].index(name)

    def curve(self, values: Array, up: bool, y: Array) -> tuple[Array, Array]:
        """The mean step at `y` and its derivative."""
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
        """A and gamma of an exponential curve."""
        start = 0 if up else self._width
        if self.convex[0 if up else 1]:
            return -math.exp(values[start + 1]), -values[start + 2]
        return values[start + 1], values[start + 2]

    def vanishing(self, values: Array) -> tuple[float, float]:
        """Where the mean steps down and up become 0; infinite where they do not."""
        found = []
        for side, up in ((0, True), (1, False)):
            if self.name == "exp-step":
                factor, exponent = self.exponential(values, up)
                found.append(-math.log(factor) / exponent if factor > 0 else math.inf)
            else:
                gamma = values[side * self._width + 1]
                found.append(1 / gamma if gamma > 0 else math.inf)
        return -float(found[1]), float(found[0])

    @property
    def _width(self) -> int:
        return 3 if self.name == "exp-step" else 2

    def bounds(self, values: Array) -> tuple[float, float]:
        """The lowest and the highest conductance that pulses lead to; infinite where none was reached."""
        if self.name == "soft-bounds":
            return -1 / values[3], 1 / values[1]
        low = values[self.index("low")] if self.clipped[0] else -math.inf
        high = values[self.index("high")] if self.clipped[1] else math.inf
        return float(low), float(high)

    def steps(self, values: Array, x: Array, up: NDArray[np.bool_]) -> Steps:
        """What one pulse does from `x`, directions in `up`; a bound cuts the noise as well."""
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
        """The trajectory without noise from a start, `[n + 1]`."""
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
    """Mean, share below the bound and variance of the smaller of a normal variable and a bound."""
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
