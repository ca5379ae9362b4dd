"""Bounds that are known from elsewhere: checked against the readings, and against what the data alone would say."""

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
"""Standard deviations of a reading: medians of five readings beyond a bound by more are no noise, 6.5 of their own."""
SURELY = 1e-3
"""Chance that data which agree with the known bounds are said not to."""
SHORT = 0.05
"""Of the range between the bounds: steps that vanish so far before a known bound are worth a warning."""


def normalised(own: DeviceScale, g_min: float | None, g_max: float | None) -> tuple[float | None, float | None]:
    """The known bounds in a device's units."""
    low, high = (None if bound is None else (bound - own.centre) / own.half for bound in (g_min, g_max))
    return low, high


def check(
    starts: Sequence[tuple[Estimate, Pulses]], owns: Sequence[DeviceScale], g_min: float | None, g_max: float | None
) -> None:
    """Refuse bounds that readings lie beyond, or that leave no range.

    Args:
        starts: straight curves without bounds on each device, and its pulses.
        g_min, g_max: siemens.

    Raises:
        ProfileError: names the bound, what is allowed and what was given.
    """
    if g_min is not None and g_max is not None and g_min >= g_max:
        raise ProfileError(f"g_max must be above g_min = {g_min * 1e6:g} uS, got {g_max * 1e6:g} uS")
    for key, bound, sign, beside in (("g_min", g_min, -1, "below"), ("g_max", g_max, 1, "above")):
        if bound is None:
            continue
        limits = []
        for (found, pulses), own in zip(starts, owns, strict=True):
            usual = median_filter(pulses.reading[pulses.seen], size=5, mode="nearest")
            noise = own.half * (BEYOND * math.exp(found.value("reading")) + 1e-3)
            limits.append(own.centre + sign * (own.half * float(np.max(sign * usual)) - noise))
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
    owns: Sequence[DeviceScale],
    known: tuple[float | None, float | None],
) -> list[str]:
    """Known bounds, in siemens, that the fitted model has elsewhere, or that its steps do not lead to."""
    if known == (None, None):
        return []
    name, said = finals[0].model.name, []
    # each side on its own, as the other may be right
    for side, key, bound in ((0, "g_min", known[0]), (1, "g_max", known[1])):
        if bound is None:
            continue
        gain, places = 0.0, []
        for one, pulses, own in zip(finals, used, owns, strict=True):
            free = _without(one, pulses, side)
            place = free.model.bounds(free.values)[side]
            gain += free.likelihood - one.likelihood if math.isfinite(place) else 0.0
            places.append(own.centre + own.half * place)
        found = [place for place in places if math.isfinite(place)]
        if found and 2 * gain > stats.chi2.isf(SURELY, len(found)):
            what = "steps vanish" if name == "soft-bounds" else "pulses stop"
            said.append(
                f"{key} = {bound * 1e6:.4g} uS as given does not agree with the data: by them {what} at "
                f"{np.mean(found) * 1e6:.4g} uS"
            )
            continue
        ends = [
            own.centre + own.half * one.model.vanishing(one.values)[side]
            for one, own in zip(finals, owns, strict=True)
        ]  # fmt: skip
        vanish = float(np.mean(ends))
        short = (bound - vanish) * (1 if side else -1)
        if name != "soft-bounds" and short > SHORT * 2 * float(np.mean([own.half for own in owns])):
            said.append(
                f"{key} = {bound * 1e6:.4g} uS as given is never reached: steps vanish at {vanish * 1e6:.4g} uS"
            )
    return said


def _without(one: Estimate, pulses: Pulses, side: int) -> Estimate:
    """The same model, with the bound of one side fitted."""
    known = (None, one.model.known[1]) if side == 0 else (one.model.known[0], None)
    if one.model.name == "soft-bounds":
        return estimate(replace(one.model, known=known), pulses, one.values, one.states)
    model = replace(one.model, known=known).unclipped
    return bounded(estimate(model, pulses, model.unclipped_values(one.values), one.states), pulses)
