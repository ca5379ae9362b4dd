"""Fits a device model to measurements: per device, model selection by held-out pulses, noise by likelihood.

normalise   each device's conductance to -1 ... 1; exclude readings far from their neighbours
fit         each update model to each device (hardware.pulse_likelihood)
compare     models by held-out pulses, the simplest within two standard errors of the best (hardware.pulse_compare)
pool        means and spreads of the devices' parameters, on one scale of weights (hardware.fitted_device)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from scff_hw.errors import ProfileError, nearest
from scff_hw.hardware.fitted_device import DeviceScale, Keys, bounds, keys, mean_keys, zero_step
from scff_hw.hardware.fitted_intervals import Interval, Uncertainty, name_with_unit, noises, spreads
from scff_hw.hardware.fitting_warnings import (
    bound_warnings,
    limit_warnings,
    outlier_warnings,
    outliers,
    poor_fit,
    thin_data,
)
from scff_hw.hardware.known_bounds import check, disagreements, normalised
from scff_hw.hardware.measurements import Series
from scff_hw.hardware.pulse_compare import (
    MODELS,
    best,
    candidates,
    gross_outliers,
    initial_fit,
    thinned,
    with_scores,
    without_outliers,
)
from scff_hw.hardware.pulse_likelihood import Estimate, Pulses, estimate, filtered, restricted
from scff_hw.hardware.pulse_models import CONSTANT_SHARE, Array, PulseModel

MOST_COMPARED = 4_000
"""Largest number of rows for model comparison; more rows cost time and hardly change the result."""
MOST_FITTED = 20_000
"""Largest number of rows for the fit of the chosen model."""
MOST_DEVICES = 40
LARGEST_STEP = 0.999
"""Largest step in w: two steps must fit between the bounds."""
LEAST_PER_DEVICE = 4
"""Fewest pulses in each direction of a device that is fitted."""


@dataclass(frozen=True)
class Fit:
    """A device model fitted to measurements. Weights are linear in conductance, `w_min` at `g_min`, `w_max` at `g_max`.

    Attributes:
        model: value of `device.model`.
        parameters: values of `device.response` that define the mean step, in weights, with the bounds.
        g_min, g_max: conductances of the mean device at its bounds, siemens.
        error: root mean square distance between readings and noise-free trajectories, in weights.
        cycle_to_cycle: standard deviation of a pulse over its mean; for constant noise, over the mean at weight 0.
        noise_follows_step: whether the noise of a pulse scales with the step at the conductance.
        write_noise: standard deviation of a reading about the weight, in weights.
        constant_noise: constant part of the noise, in weights, for exp-step with noise that does not follow the step.
        spread: values of `device.device_to_device`, standard deviations over devices.
        devices: number of fitted devices.
        intervals: 95 % intervals by the names of `metrics`; a value at a limit has none.
        included: one sentence on what the intervals include.
        known: (g_min, g_max), whether the bound was given instead of fitted.
        compared: log-likelihood per held-out pulse of each compared model.
        outliers: number of excluded readings and steps.
        warnings: warning sentences.
        estimates: model, parameters and scale per device.
    """

    model: str
    parameters: Keys
    g_min: float
    g_max: float
    error: float = 0.0
    cycle_to_cycle: float = 0.0
    noise_follows_step: bool = False
    write_noise: float = 0.0
    constant_noise: float = 0.0
    spread: Keys = field(default_factory=dict)
    devices: int = 1
    intervals: dict[str, Interval] = field(default_factory=dict)
    included: str = ""
    known: tuple[bool, bool] = (False, False)
    compared: dict[str, float] = field(default_factory=dict)
    outliers: int = 0
    warnings: tuple[str, ...] = ()
    estimates: dict[str, tuple[PulseModel, Array, DeviceScale]] = field(default_factory=dict, repr=False)

    def metrics(self) -> dict[str, Any]:
        """Return the reported values by name."""
        at_zero = zero_step(self.parameters)
        return {
            "model": self.model,
            "g_min_siemens": self.g_min,
            "g_max_siemens": self.g_max,
            **{name_with_unit(key): value for key, value in self.parameters.items()},
            "step_at_zero_w": at_zero,
            "step_at_zero_siemens": at_zero * self.per_weight,
            "cycle_to_cycle": self.cycle_to_cycle,
            "noise_follows_step": self.noise_follows_step,
            "write_noise_w": self.write_noise,
            **{f"{key}_device_to_device": value for key, value in self.spread.items()},
            "devices": self.devices,
            "outliers": self.outliers,
            "rms_error_w": self.error,
        }

    @property
    def per_weight(self) -> float:
        """Conductance of a weight of 1, siemens."""
        return (self.g_max - self.g_min) / (self.parameters["w_max"] - self.parameters["w_min"])

    def trajectories(self, series: Series) -> list[Array]:
        """Return the fitted trajectory of the device for each branch of a measured series, siemens `[n + 1]`."""
        model, values, scale = self.estimates[series.device]
        measured = (series.conductance - scale.centre) / scale.half
        return [
            scale.centre + scale.half * _branch(model, values, measured[first : last + 1], series.up[first:last])
            for first, last in series.branches
        ]


def fit_device(
    series: Sequence[Series],
    model: str = "best",
    progress: Callable[[int, int], None] | None = None,
    *,
    g_min: float | None = None,
    g_max: float | None = None,
) -> Fit:
    """Fit the given model, or the one that predicts held-out pulses best.

    Args:
        progress: called with the numbers of finished fits and of all fits.
        g_min, g_max: known bounds of every device, siemens; fitted by default.

    Raises:
        ProfileError: unknown model, no device with pulses in both directions, a device whose conductance increases
            under down pulses, or readings beyond a known bound.
    """
    names = [*MODELS, "best"]
    if model not in names:
        raise ProfileError(f"model must be one of {', '.join(names)}, got '{model}'{nearest(model, names)}")
    usable = [one for one in series if min(int(one.up.sum()), int((~one.up).sum())) >= LEAST_PER_DEVICE]
    if not usable:
        raise ProfileError(
            f"at least one device must have {LEAST_PER_DEVICE} pulses or more in each direction, but none has"
        )
    chosen = [usable[i] for i in np.linspace(0, len(usable) - 1, min(len(usable), MOST_DEVICES)).astype(int)]
    scales, whole = zip(*(_normalised(one) for one in chosen), strict=True)
    _check_directions(whole)
    bases = [
        PulseModel("straight", floor=-scale.centre / scale.half, known=normalised(scale, g_min, g_max))
        for scale in scales
    ]
    models = MODELS if model == "best" else (model,)
    tick = _counter(progress, len(chosen) * (3 + len(models) * 3))

    compared = [thinned(one, max(200, MOST_COMPARED // len(chosen))) for one in whole]
    starts = []
    for pulses in compared:
        starts.append(initial_fit(pulses))
        tick()
    check(starts, scales, g_min, g_max)
    tried = candidates(models, [clean for _, clean in starts], [start for start, _ in starts], bases, tick)
    likeliest = max(tried, key=lambda one: one.likelihood)
    cleaned = [without_outliers(one.model, one, part) for one, part in zip(likeliest.estimates, compared, strict=True)]
    if len(tried) > 1:
        tried = [with_scores(one, cleaned, tick) for one in tried]
        tried = [one for one in tried if _largest_step(one.estimates, scales) <= LARGEST_STEP] or tried
    choice = best(tried) if len(tried) > 1 else tried[0]
    if _largest_step(choice.estimates, scales) > LARGEST_STEP:
        raise ProfileError(
            f"the step of {choice.model.name} must fit twice into the measured range; one pulse changes the "
            "conductance by more than half of it: measure several pulses in one direction"
        )

    cuts = [thinned(one, max(200, MOST_FITTED // len(chosen))) for one in whole]
    finals, used = [], []
    for one, pulses in zip(choice.estimates, cuts, strict=True):
        final, clean = _final(one, pulses)
        finals.append(final)
        used.append(clean)
        tick()
    scales = tuple(_ranged(scale, one, clean) for scale, one, clean in zip(scales, finals, used, strict=True))
    fit = _pooled(chosen, finals, scales)
    count = sum(int(part.seen.sum()) for part in cleaned)
    return replace(
        fit,
        known=(g_min is not None, g_max is not None),
        error=_error(fit, cuts),
        compared={one.model.name: float(one.scores.sum()) / count for one in tried if len(one.scores)},
        outliers=outliers(used, cuts),
        warnings=tuple(
            [
                *thin_data(series, chosen, cuts),
                *outlier_warnings(chosen, used, cuts),
                *limit_warnings(finals),
                *bound_warnings(finals, scales, fit.g_min, fit.g_max),
                *disagreements(finals, used, scales, (g_min, g_max)),
                *poor_fit(finals, used),
            ]
        ),
    )


def _largest_step(finals: Sequence[Estimate], scales: Sequence[DeviceScale]) -> float:
    """Return `device.response.step` of the mean device, in w."""
    values = [one.values for one in finals]
    ranged = [
        replace(scale, lowest=one.states.min(), highest=one.states.max())
        for scale, one in zip(scales, finals, strict=True)
    ]
    ends = bounds(finals, values, ranged)
    return float(
        np.mean([keys(one.model, one.values, scale, *ends)["step"] for one, scale in zip(finals, ranged, strict=True)])
    )


def _ranged(scale: DeviceScale, fitted: Estimate, pulses: Pulses) -> DeviceScale:
    """Return the scale with the range of the smoothed states and the standard errors of both ends."""
    ends = int(fitted.states.argmin()), int(fitted.states.argmax())
    variances = filtered(fitted.model, fitted.values, pulses, fitted.states).variances
    low, high = (float(fitted.states[end]) for end in ends)
    errors = math.sqrt(variances[ends[0]]), math.sqrt(variances[ends[1]])
    return replace(scale, lowest=low, highest=high, errors=errors)


def _normalised(series: Series) -> tuple[DeviceScale, Pulses]:
    """Return the scale on which the range without gross outliers is -1 to 1, and the readings on that scale."""
    plain = ~gross_outliers(series.conductance)
    low, high = float(series.conductance[plain].min()), float(series.conductance[plain].max())
    scale = DeviceScale((low + high) / 2, (high - low) / 2, -1.0, 1.0)
    reading = (series.conductance - scale.centre) / scale.half
    return scale, Pulses(series.up, reading, plain, np.ones(len(series.up), bool))


def _check_directions(devices: Sequence[Pulses]) -> None:
    for up, name, sense in ((True, "up", "rise"), (False, "down", "fall")):
        total = 0.0
        for one in devices:
            counted = (one.up == up) & one.seen[1:] & one.seen[:-1]
            total += float(np.diff(one.reading)[counted].sum())
        if (total > 0) != up:
            raise ProfileError(
                f"conductance must {sense} under pulses in direction {name}, but over all of them it does not; "
                "are the directions swapped?"
            )


def _counter(progress: Callable[[int, int], None] | None, total: int) -> Callable[[], None]:
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        if progress:
            progress(min(done, total), total)

    return tick


def _final(initial: Estimate, pulses: Pulses) -> tuple[Estimate, Pulses]:
    """Fit the chosen model to one device without outliers; return the estimate and the readings that were used.

    Noise is estimated by the restricted likelihood.
    """
    states = pulses.reading if len(initial.states) != len(pulses.reading) else initial.states
    final = estimate(initial.model, pulses, initial.values, states)
    for _ in range(3):
        clean = without_outliers(final.model, final, pulses)
        again = estimate(final.model, clean, final.values, final.states)
        settled = abs(again.likelihood - final.likelihood) < 0.05
        final = again
        if settled:
            break
    return restricted(final, clean), clean


def _pooled(devices: Sequence[Series], finals: Sequence[Estimate], scales: Sequence[DeviceScale]) -> Fit:
    """Return the fit with means and spreads over devices, and their intervals."""
    model = finals[0].model
    values = [one.values for one in finals]
    low, high = bounds(finals, values, scales)
    responses = [keys(one.model, one.values, scale, low, high) for one, scale in zip(finals, scales, strict=True)]
    mean = mean_keys(responses)
    noise = noises(finals, values, scales, low, high)
    uncertain = Uncertainty(finals, scales)
    spread, spread_intervals = spreads(model.name, responses, uncertain.parts())
    return Fit(
        model.name,
        mean,
        low,
        high,
        cycle_to_cycle=noise["cycle_to_cycle"],
        noise_follows_step=model.follows,
        write_noise=noise["write_noise_w"],
        constant_noise=max(0.0, noise["cycle_to_cycle"] - CONSTANT_SHARE) * zero_step(mean),
        spread=spread,
        devices=len(devices),
        intervals=uncertain.intervals() | spread_intervals,
        included=uncertain.included(),
        estimates={
            one.device: (fitted.model, fitted.values, scale)
            for one, fitted, scale in zip(devices, finals, scales, strict=True)
        },
    )


def _error(fit: Fit, cuts: Sequence[Pulses]) -> float:
    """Return the root mean square distance between readings and noise-free trajectories, in w."""
    total, count = 0.0, 0
    for (model, values, scale), pulses in zip(fit.estimates.values(), cuts, strict=True):
        turns = np.flatnonzero(np.diff(pulses.up) | ~(pulses.linked[1:] & pulses.linked[:-1])) + 1
        for first, last in itertools.pairwise([0, *turns.tolist(), len(pulses.up)]):
            reading, seen = pulses.reading[first : last + 1], pulses.seen[first : last + 1]
            left = (_branch(model, values, reading, pulses.up[first:last]) - reading)[seen]
            total += float((left**2).sum()) * (scale.half / fit.per_weight) ** 2
            count += len(left)
    return math.sqrt(total / count)


def _branch(model: PulseModel, values: Array, reading: Array, up: Any) -> Array:
    """Return the noise-free trajectory over a branch; its start is corrected by the median of the first 5 residuals."""
    path = model.run(values, float(reading[0]), up)
    few = min(5, len(reading))
    return model.run(values, float(reading[0] + np.median(reading[:few] - path[:few])), up)
