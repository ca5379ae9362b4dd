"""From estimates in normalised conductance to the keys of a profile: one scale of weights for all devices.

Conductance is linear in the weight: -1 w is the lower bound of the mean device and 1 w its upper bound, so `g_min` and
`g_max` are the conductances of `w_min` and `w_max`. A bound that is not known and that the pulses did not reach is the
farthest conductance that they did reach.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scff_hw.hardware.pulse_likelihood import Estimate
from scff_hw.hardware.pulse_models import Array, PulseModel
from scff_hw.hardware.schema import Response, step_at_zero

Keys = dict[str, float]
"""Keys of `device.response` and their values; weights in w."""
MOST_HIGH = 10.0
"""An upper bound that was not reached is at most so many times the largest conductance measured."""


@dataclass(frozen=True)
class DeviceScale:
    """One device's units, and how far it went.

    Attributes:
        centre, half: siemens; normalised conductance is `(g - centre) / half`.
        lowest, highest: normalised, of the smoothed states.
        errors: standard deviations of those two.
    """

    centre: float
    half: float
    lowest: float
    highest: float
    errors: tuple[float, float] = (0.0, 0.0)


def bounds(
    finals: Sequence[Estimate],
    values: Sequence[Array],
    owns: Sequence[DeviceScale],
    farthest: tuple[bool, bool] = (False, False),
) -> tuple[float, float]:
    """Conductances of the mean device's bounds, in siemens; `values` are the parameters of each estimate's model.

    Args:
        farthest: (low, high), a bound that no pulse reached is put as far out as it can be. It is not below 0 S, not
            beyond where the mean steps towards it vanish, and not above MOST_HIGH times the largest conductance.
    """
    low, high, vanish_low, vanish_high = [], [], [], []
    for one, value, own in zip(finals, values, owns, strict=True):
        ends, vanishing = one.model.bounds(value), one.model.vanishing(value)
        low.append(own.centre + own.half * ends[0])
        high.append(own.centre + own.half * ends[1])
        vanish_low.append(own.centre + own.half * vanishing[0])
        vanish_high.append(own.centre + own.half * vanishing[1])
    if not np.isfinite(low).all():
        least = min(own.centre + own.half * own.lowest for own in owns)
        low = [min(least, float(np.mean(vanish_low))) if farthest[0] else least]
    if not np.isfinite(high).all():
        most = max(own.centre + own.half * own.highest for own in owns)
        high = [max(most, min(MOST_HIGH * most, float(np.mean(vanish_high)))) if farthest[1] else most]
    return max(0.0, float(np.mean(low))), float(np.mean(high))


def reached(finals: Sequence[Estimate]) -> tuple[bool, bool]:
    """(low, high): the bound is known, was reached by pulses of every device, or follows from the steps."""
    soft = finals[0].model.name == "soft-bounds"
    return soft or all(one.model.clipped[0] for one in finals), soft or all(one.model.clipped[1] for one in finals)


def keys(model: PulseModel, values: Array, own: DeviceScale, low: float, high: float) -> Keys:
    """The response of one device on the scale where -1 w is `low` and 1 w is `high`, in siemens."""
    per_weight, middle = (high - low) / 2, (high + low) / 2
    at_zero = (middle - own.centre) / own.half

    def weight(normalised: float, otherwise: float) -> float:
        return (own.centre + own.half * normalised - middle) / per_weight if math.isfinite(normalised) else otherwise

    ends = model.bounds(values)
    found = {"w_min": weight(ends[0], -1.0), "w_max": weight(ends[1], 1.0)}
    scales = []
    for up, name in ((True, "up"), (False, "down")):
        y = at_zero if up else -at_zero
        there = float(model.curve(values, up, np.array([y]))[0][0]) * own.half / per_weight
        if model.name == "exp-step":
            factor, exponent = model.exponential(values, up)
            start = math.exp(values[0 if up else 3]) * own.half / per_weight
            there = start / (1 - factor)
            found[f"a_{name}"] = factor * math.exp(exponent * y)
            found[f"gamma_{name}"] = exponent * per_weight / own.half
        elif model.name == "linear-step":
            at_bound = float(model.curve(values, up, np.array([y + per_weight / own.half]))[0][0])
            found[f"gamma_{name}"] = max(0.0, 1 - at_bound * own.half / per_weight / there) if there > 0 else 0.0
        scales.append(there)
    mean = (scales[0] + scales[1]) / 2
    return {"step": mean, "asymmetry": (scales[0] - scales[1]) / (scales[0] + scales[1])} | found


def mean_keys(each: Sequence[Keys]) -> Keys:
    """The mean device; factors of exponentials are averaged as logarithms."""
    found = {}
    for key in each[0]:
        parts = np.array([one[key] for one in each])
        if key.startswith("a_") and (np.sign(parts) == np.sign(parts[0])).all() and parts.all():
            found[key] = float(np.sign(parts[0]) * np.exp(np.mean(np.log(np.abs(parts)))))
        else:
            found[key] = float(np.mean(parts))
    return found


def zero_step(found: Keys) -> float:
    """The mean size of a pulse at weight 0, of both directions, in w."""
    model = "exp-step" if "a_up" in found else "soft-bounds"
    return step_at_zero(model, Response.model_construct(offset=0.0, **found))  # type: ignore[arg-type]
