"""What a fit says in figures, and how sure they are: intervals of 95 % and spreads over devices."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import stats

from scff_hw.hardware.fitted_device import MOST_HIGH, DeviceScale, Keys, bounds, keys, mean_keys, reached, zero_step
from scff_hw.hardware.pulse_likelihood import Estimate
from scff_hw.hardware.pulse_models import CONSTANT_SHARE, FLOOR_NOISE, FLOOR_READING, Array

DRAWS = 400
"""Of the estimates, for intervals of 95 %."""

Interval = tuple[float, float]


class Uncertainty:
    """Intervals of 95 % from draws of the estimates.

    A hard bound that is not known and that no pulse reached has no distribution: the intervals are the union of those
    with the bound at the farthest conductance measured and as far out as it can be (`fitted_device.bounds`).
    """

    def __init__(self, finals: Sequence[Estimate], owns: Sequence[DeviceScale]):
        draw = np.random.default_rng(0)
        self._finals, self._owns = finals, owns
        self._moved = [[_draw(one, draw) for one in finals] for _ in range(DRAWS)]
        self._ranges = [[_range(own, draw) for own in owns] for _ in range(DRAWS)]
        self._values = [one.values for one in finals]
        self.sides = [(False,) if there else (False, True) for there in reached(finals)]

    def intervals(self) -> dict[str, Interval]:
        """By the names of `Fit.metrics`; a figure that is certain has none."""
        found: dict[str, Interval] = {}
        for farthest in itertools.product(*self.sides):
            for name, (low, high) in self._given(farthest).items():
                before = found.get(name, (low, high))
                found[name] = (min(low, before[0]), max(high, before[1]))
        return {name: ends for name, ends in found.items() if ends[1] - ends[0] > 1e-9 * abs(ends[1])}

    def parts(self) -> list[list[Keys]]:
        """The keys of each device in each draw, on the scale of the fit."""
        low, high = bounds(self._finals, self._values, self._owns)
        return [self._keys(moved, low, high) for moved in self._moved]

    def included(self) -> str:
        """What the intervals include, one sentence."""
        low, high = bounds(self._finals, self._values, self._owns)
        out_low, out_high = bounds(self._finals, self._values, self._owns, (True, True))
        said = []
        if len(self.sides[0]) > 1:
            said.append(f"the lower bound, which no pulse reached, from {out_low * 1e6:.4g} to {low * 1e6:.4g} uS")
        if len(self.sides[1]) > 1:
            limit = (
                f"{MOST_HIGH:g} times that, an assumption" if out_high > 0.999 * MOST_HIGH * high else
                f"{out_high * 1e6:.4g} uS, where steps up vanish"
            )  # fmt: skip
            said.append(f"the upper bound, which no pulse reached, from {high * 1e6:.4g} uS to {limit}")
        within = "; and ".join(said)
        return "the 95 % intervals include the errors of the estimates" + (f" and {within}" if said else "")

    def _keys(self, moved: Sequence[Array], low: float, high: float) -> list[Keys]:
        return [
            keys(one.model, value, own, low, high)
            for one, value, own in zip(self._finals, moved, self._owns, strict=True)
        ]

    def _given(self, farthest: tuple[bool, ...]) -> dict[str, Interval]:
        sides = (farthest[0], farthest[1])
        single = len(self._finals) == 1
        mean = bounds(self._finals, self._values, self._owns, sides)
        drawn = []
        for moved, ranges in zip(self._moved, self._ranges, strict=True):
            # of one device the scale is as uncertain as its bounds; of several it is that of their mean
            ends = bounds(self._finals, moved, ranges, sides) if single else mean
            figures = mean_values(mean_keys(self._keys(moved, *ends)), *ends)
            drawn.append(figures | noises(self._finals, moved, self._owns, *ends))
        found = {name: _quantiles([one[name] for one in drawn]) for name in drawn[0]}
        if not single:
            each = self._keys(self._values, *mean)
            centre = mean_keys(each)
            for key in ("step", "asymmetry", "w_min", "w_max", "gamma_up", "gamma_down", "a_up", "a_down"):
                if key in centre:
                    parts = [one[key] for one in each]
                    half = stats.t.ppf(0.975, len(each) - 1) * float(np.std(parts, ddof=1)) / math.sqrt(len(each))
                    found[name_with_unit(key)] = (float(centre[key] - half), float(centre[key] + half))
        return found


def _draw(found: Estimate, draw: np.random.Generator) -> Array:
    moved = draw.multivariate_normal(found.values, found.covariance, method="eigh")
    limits = found.model.parameters
    return np.clip(moved, [one.low for one in limits], [one.high for one in limits])


def _range(own: DeviceScale, draw: np.random.Generator) -> DeviceScale:
    low, high = draw.normal((own.lowest, own.highest), own.errors)
    return replace(own, lowest=float(low), highest=float(high))


def mean_values(mean: Keys, low: float, high: float) -> dict[str, float]:
    found = {name_with_unit(key): value for key, value in mean.items()}
    at_zero = zero_step(mean)
    found |= {"g_min_siemens": low, "g_max_siemens": high}
    return found | {"step_at_zero_w": at_zero, "step_at_zero_siemens": at_zero * (high - low) / 2}


def noises(
    finals: Sequence[Estimate], values: Sequence[Array], owns: Sequence[DeviceScale], low: float, high: float
) -> dict[str, float]:
    """Root mean squares over devices: of the pulse over its mean, of the reading in w."""
    cycle, reading = [], []
    for one, value, own in zip(finals, values, owns, strict=True):
        at = [value[one.model.index(name)] for name in ("cycle", "reading")]
        constant = CONSTANT_SHARE if one.model.name == "exp-step" and not one.model.follows else 0.0
        cycle.append(math.exp(at[0]) + constant if at[0] > FLOOR_NOISE + 0.1 else 0.0)
        reading.append(2 * own.half * math.exp(at[1]) / (high - low) if at[1] > FLOOR_READING + 0.1 else 0.0)
    return {
        "cycle_to_cycle": float(np.sqrt(np.mean(np.square(cycle)))),
        "write_noise_w": float(np.sqrt(np.mean(np.square(reading)))),
    }


def _quantiles(parts: Sequence[float]) -> Interval:
    ends = np.quantile(parts, [0.025, 0.975])
    return float(ends[0]), float(ends[1])


def spreads(model: str, each: Sequence[Keys], drawn: Sequence[Sequence[Keys]]) -> tuple[Keys, dict[str, Interval]]:
    """Standard deviations over devices, less what the errors of each device's estimates add."""
    names = ["step", "asymmetry", "w_min", "w_max"]
    if model == "linear-step":
        names += ["gamma_up", "gamma_down"]
    if len(each) == 1:
        return dict.fromkeys(names, 0.0), {}
    found, intervals = {}, {}
    count = len(each)
    for name in names:
        relative = abs(float(np.mean([one[name] for one in each]))) if name in ("step", "w_min", "w_max") else 1.0
        parts = np.array([one[name] for one in each]) / relative
        errors = np.array([[one[name] for one in draw] for draw in drawn]) / relative
        error = float(np.mean(np.var(errors, axis=0)))
        total = float(np.var(parts, ddof=1))
        found[name] = math.sqrt(max(0.0, total - error))
        ends = [(count - 1) * total / stats.chi2.ppf(q, count - 1) - error for q in (0.975, 0.025)]
        if total > 0:
            intervals[f"{name}_device_to_device"] = (math.sqrt(max(0.0, ends[0])), math.sqrt(max(0.0, ends[1])))
    return found, intervals


def name_with_unit(key: str) -> str:
    return f"{key}_w" if key in ("step", "w_min", "w_max") else key
