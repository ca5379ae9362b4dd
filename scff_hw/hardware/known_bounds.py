"""Checks known bounds against the readings and against bounds fitted without them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import stats
from scipy.ndimage import median_filter

from scff_hw.errors import ProfileError
from scff_hw.hardware.fitted_device import DeviceScale
from scff_hw.hardware.pulse_compare import bounded
from scff_hw.hardware.pulse_likelihood import Estimate, Pulses, estimate

BEYOND = 3.0
"""Standard deviations of a reading (6.5 of a median of five); a median farther beyond a bound is not noise."""
SIGNIFICANCE = 1e-3
"""Significance level of a warning that data disagree with known bounds."""
SHORTFALL = 0.05
"""Fraction of the range between the bounds; steps that vanish farther from a known bound give a warning."""


def normalised(scale: DeviceScale, g_min: float | None, g_max: float | None) -> tuple[float | None, float | None]:
    """Return the known bounds, from siemens to normalised conductance; None if unknown."""
    low, high = (None if bound is None else (bound - scale.centre) / scale.half for bound in (g_min, g_max))
    return low, high


def check(
    starts: Sequence[tuple[Estimate, Pulses]], scales: Sequence[DeviceScale], g_min: float | None, g_max: float | None
) -> None:
    """Refuse bounds that readings exceed, or that leave no range.

    Args:
        starts: per device, the fit of straight curves without bounds, and the pulses.
        g_min, g_max: known bounds in siemens, or None.

    Raises:
        ProfileError: names the bound, the allowed range and the given value.
    """
    if g_min is not None and g_max is not None and g_min >= g_max:
        raise ProfileError(f"g_max must be above g_min = {g_min * 1e6:g} uS, got {g_max * 1e6:g} uS")
    for key, bound, sign, beside in (("g_min", g_min, -1, "below"), ("g_max", g_max, 1, "above")):
        if bound is None:
            continue
        limits = []
        for (fitted, pulses), scale in zip(starts, scales, strict=True):
            usual = median_filter(pulses.reading[pulses.seen], size=5, mode="nearest")
            noise = scale.half * (BEYOND * math.exp(fitted.value("reading")) + 1e-3)
            limits.append(scale.centre + sign * (scale.half * float(np.max(sign * usual)) - noise))
        limit = sign * max(sign * one for one in limits)
        if sign * bound < sign * limit:
            side = "at most" if sign < 0 else "at least"
            raise ProfileError(
                f"{key} must be {side} {limit * 1e6:.4g} uS, since readings lie {beside} that, their noise taken off; "
                f"got {bound * 1e6:.4g} uS"
            )


def disagreements(
    finals: Sequence[Estimate],
    used: Sequence[Pulses],
    scales: Sequence[DeviceScale],
    known: tuple[float | None, float | None],
) -> list[str]:
    """Return warnings about known bounds, in siemens, that disagree with the model or that its steps do not reach."""
    if known == (None, None):
        return []
    name, warnings = finals[0].model.name, []
    # each side separately, since the other may be correct
    for side, key, bound in ((0, "g_min", known[0]), (1, "g_max", known[1])):
        if bound is None:
            continue
        gain, positions = 0.0, []
        for one, pulses, scale in zip(finals, used, scales, strict=True):
            free = _without(one, pulses, side)
            position = free.model.bounds(free.values)[side]
            gain += free.likelihood - one.likelihood if math.isfinite(position) else 0.0
            positions.append(scale.centre + scale.half * position)
        finite = [position for position in positions if math.isfinite(position)]
        if finite and 2 * gain > stats.chi2.isf(SIGNIFICANCE, len(finite)):
            what = "steps vanish" if name == "soft-bounds" else "pulses stop"
            warnings.append(
                f"{key} = {bound * 1e6:.4g} uS as given does not agree with the data: by them {what} at "
                f"{np.mean(finite) * 1e6:.4g} uS"
            )
            continue
        ends = [
            scale.centre + scale.half * one.model.vanishing(one.values)[side]
            for one, scale in zip(finals, scales, strict=True)
        ]  # fmt: skip
        vanish = float(np.mean(ends))
        short = (bound - vanish) * (1 if side else -1)
        if name != "soft-bounds" and short > SHORTFALL * 2 * float(np.mean([scale.half for scale in scales])):
            warnings.append(
                f"{key} = {bound * 1e6:.4g} uS as given is never reached: steps vanish at {vanish * 1e6:.4g} uS"
            )
    return warnings


def _without(one: Estimate, pulses: Pulses, side: int) -> Estimate:
    """Fit the model again with the bound of one side unknown (0: lower, 1: upper); return the estimate."""
    known = (None, one.model.known[1]) if side == 0 else (one.model.known[0], None)
    if one.model.name == "soft-bounds":
        return estimate(replace(one.model, known=known), pulses, one.values, one.states)
    model = replace(one.model, known=known).unclipped
    return bounded(estimate(model, pulses, model.unclipped_values(one.values), one.states), pulses)
