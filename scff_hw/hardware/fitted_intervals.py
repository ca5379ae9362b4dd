"""Reported values of a fit, their 95 % intervals, and spreads over devices."""

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
"""Number of draws of the estimates for 95 % intervals."""

Interval = tuple[float, float]


class Uncertainty:
    """95 % intervals from draws of the estimates.

    An unknown hard bound that no pulse reached has no distribution: the intervals are the union of the intervals with
    the bound at the farthest conductance measured and at its farthest possible value (`fitted_device.bounds`).
    """

    def __init__(self, finals: Sequence[Estimate], scales: Sequence[DeviceScale]):
        draw = np.random.default_rng(0)
        self._finals, self._scales = finals, scales
        self._sampled = [[_draw(one, draw) for one in finals] for _ in range(DRAWS)]
        self._ranges = [[_range(scale, draw) for scale in scales] for _ in range(DRAWS)]
        self._values = [one.values for one in finals]
        self.sides = [(False,) if there else (False, True) for there in reached(finals)]

    def intervals(self) -> dict[str, Interval]:
        """Return the intervals by the names of `Fit.metrics`; a value without uncertainty has none."""
        intervals: dict[str, Interval] = {}
        for farthest in itertools.product(*self.sides):
            for name, (low, high) in self._given(farthest).items():
                known = intervals.get(name, (low, high))
                intervals[name] = (min(low, known[0]), max(high, known[1]))
        return {name: ends for name, ends in intervals.items() if ends[1] - ends[0] > 1e-9 * abs(ends[1])}

    def parts(self) -> list[list[Keys]]:
        """Return the values of each device in each draw, `[draws][devices]`, on the scale of the fit."""
        low, high = bounds(self._finals, self._values, self._scales)
        return [self._keys(sampled, low, high) for sampled in self._sampled]

    def included(self) -> str:
        """Return one sentence on what the intervals include."""
        low, high = bounds(self._finals, self._values, self._scales)
        out_low, out_high = bounds(self._finals, self._values, self._scales, (True, True))
        clauses = []
        if len(self.sides[0]) > 1:
            clauses.append(f"the lower bound, which no pulse reached, from {out_low * 1e6:.4g} to {low * 1e6:.4g} uS")
        if len(self.sides[1]) > 1:
            limit = (
                f"{MOST_HIGH:g} times that, an assumption" if out_high > 0.999 * MOST_HIGH * high else
                f"{out_high * 1e6:.4g} uS, where steps up vanish"
            )  # fmt: skip
            clauses.append(f"the upper bound, which no pulse reached, from {high * 1e6:.4g} uS to {limit}")
        within = "; and ".join(clauses)
        return "the 95 % intervals include the errors of the estimates" + (f" and {within}" if clauses else "")

    def _keys(self, sampled: Sequence[Array], low: float, high: float) -> list[Keys]:
        return [
            keys(one.model, value, scale, low, high)
            for one, value, scale in zip(self._finals, sampled, self._scales, strict=True)
        ]

    def _given(self, farthest: tuple[bool, ...]) -> dict[str, Interval]:
        sides = (farthest[0], farthest[1])
        single = len(self._finals) == 1
        mean = bounds(self._finals, self._values, self._scales, sides)
        drawn = []
        for sampled, ranges in zip(self._sampled, self._ranges, strict=True):
            # with one device the scale is as uncertain as its bounds; with several the scale of the mean is used
            ends = bounds(self._finals, sampled, ranges, sides) if single else mean
            figures = mean_values(mean_keys(self._keys(sampled, *ends)), *ends)
            drawn.append(figures | noises(self._finals, sampled, self._scales, *ends))
        intervals = {name: _quantiles([one[name] for one in drawn]) for name in drawn[0]}
        if not single:
            devices = self._keys(self._values, *mean)
            centre = mean_keys(devices)
            for key in ("step", "asymmetry", "w_min", "w_max", "gamma_up", "gamma_down", "a_up", "a_down"):
                if key in centre:
                    parts = [one[key] for one in devices]
                    half = stats.t.ppf(0.975, len(devices) - 1) * float(np.std(parts, ddof=1)) / math.sqrt(len(devices))
                    intervals[name_with_unit(key)] = (float(centre[key] - half), float(centre[key] + half))
        return intervals


def _draw(estimate: Estimate, draw: np.random.Generator) -> Array:
    sampled = draw.multivariate_normal(estimate.values, estimate.covariance, method="eigh")
    limits = estimate.model.parameters
    return np.clip(sampled, [one.low for one in limits], [one.high for one in limits])


def _range(scale: DeviceScale, draw: np.random.Generator) -> DeviceScale:
    low, high = draw.normal((scale.lowest, scale.highest), scale.errors)
    return replace(scale, lowest=float(low), highest=float(high))


def mean_values(mean: Keys, low: float, high: float) -> dict[str, float]:
    metrics = {name_with_unit(key): value for key, value in mean.items()}
    at_zero = zero_step(mean)
    metrics |= {"g_min_siemens": low, "g_max_siemens": high}
    return metrics | {"step_at_zero_w": at_zero, "step_at_zero_siemens": at_zero * (high - low) / 2}


def noises(
    finals: Sequence[Estimate], values: Sequence[Array], scales: Sequence[DeviceScale], low: float, high: float
) -> dict[str, float]:
    """Return the root mean square noise over devices: of a pulse relative to its mean, and of a reading in w."""
    cycle, reading = [], []
    for one, value, scale in zip(finals, values, scales, strict=True):
        at = [value[one.model.index(name)] for name in ("cycle", "reading")]
        constant = CONSTANT_SHARE if one.model.name == "exp-step" and not one.model.follows else 0.0
        cycle.append(math.exp(at[0]) + constant if at[0] > FLOOR_NOISE + 0.1 else 0.0)
        reading.append(2 * scale.half * math.exp(at[1]) / (high - low) if at[1] > FLOOR_READING + 0.1 else 0.0)
    return {
        "cycle_to_cycle": float(np.sqrt(np.mean(np.square(cycle)))),
        "write_noise_w": float(np.sqrt(np.mean(np.square(reading)))),
    }


def _quantiles(parts: Sequence[float]) -> Interval:
    ends = np.quantile(parts, [0.025, 0.975])
    return float(ends[0]), float(ends[1])


def spreads(model: str, devices: Sequence[Keys], drawn: Sequence[Sequence[Keys]]) -> tuple[Keys, dict[str, Interval]]:
    """Return standard deviations over devices, minus the contribution of the estimation errors, and their intervals."""
    names = ["step", "asymmetry", "w_min", "w_max"]
    if model == "linear-step":
        names += ["gamma_up", "gamma_down"]
    if len(devices) == 1:
        return dict.fromkeys(names, 0.0), {}
    deviations, intervals = {}, {}
    count = len(devices)
    for name in names:
        relative = abs(float(np.mean([one[name] for one in devices]))) if name in ("step", "w_min", "w_max") else 1.0
        parts = np.array([one[name] for one in devices]) / relative
        errors = np.array([[one[name] for one in draw] for draw in drawn]) / relative
        error = float(np.mean(np.var(errors, axis=0)))
        total = float(np.var(parts, ddof=1))
        deviations[name] = math.sqrt(max(0.0, total - error))
        ends = [(count - 1) * total / stats.chi2.ppf(q, count - 1) - error for q in (0.975, 0.025)]
        if total > 0:
            intervals[f"{name}_device_to_device"] = (math.sqrt(max(0.0, ends[0])), math.sqrt(max(0.0, ends[1])))
    return deviations, intervals


def name_with_unit(key: str) -> str:
    return f"{key}_w" if key in ("step", "w_min", "w_max") else key
