"""Converts estimates in normalised conductance to profile keys, on one weight scale for all devices.

Conductance is linear in the weight: -1 w is the lower bound of the mean device and 1 w its upper bound, so `g_min` and
`g_max` are the conductances of `w_min` and `w_max`. An unknown bound that no pulse reached is set to the farthest
conductance reached.
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
"""Values of `device.response` by key; weights in w."""
MOST_HIGH = 10.0
"""Largest ratio of an upper bound that was not reached to the largest conductance measured."""


@dataclass(frozen=True)
class DeviceScale:
    """Normalisation of one device, and the range it reached.

    Attributes:
        centre, half: siemens; normalised conductance is `(g - centre) / half`.
        lowest, highest: normalised range of the states after Kalman smoothing.
        errors: standard errors of `lowest` and `highest`.
    """

    centre: float
    half: float
    lowest: float
    highest: float
    errors: tuple[float, float] = (0.0, 0.0)


def bounds(
    finals: Sequence[Estimate],
    values: Sequence[Array],
    scales: Sequence[DeviceScale],
    farthest: tuple[bool, bool] = (False, False),
) -> tuple[float, float]:
    """Return the bounds of the mean device in siemens; `values` are the parameters of each estimate's model.

    Args:
        farthest: (low, high), a bound that no pulse reached is set to its farthest possible value: not below 0 S, not
            beyond the point where the mean steps vanish, and not above MOST_HIGH times the largest conductance.
    """
    low, high, vanish_low, vanish_high = [], [], [], []
    for estimate, value, scale in zip(finals, values, scales, strict=True):
        ends, vanishing = estimate.model.bounds(value), estimate.model.vanishing(value)
        low.append(scale.centre + scale.half * ends[0])
        high.append(scale.centre + scale.half * ends[1])
        vanish_low.append(scale.centre + scale.half * vanishing[0])
        vanish_high.append(scale.centre + scale.half * vanishing[1])
    if not np.isfinite(low).all():
        least = min(scale.centre + scale.half * scale.lowest for scale in scales)
        low = [min(least, float(np.mean(vanish_low))) if farthest[0] else least]
    if not np.isfinite(high).all():
        most = max(scale.centre + scale.half * scale.highest for scale in scales)
        high = [max(most, min(MOST_HIGH * most, float(np.mean(vanish_high)))) if farthest[1] else most]
    return max(0.0, float(np.mean(low))), float(np.mean(high))


def reached(finals: Sequence[Estimate]) -> tuple[bool, bool]:
    """Return (low, high): whether the bound is known, was reached by pulses of every device, or follows from steps."""
    soft = finals[0].model.name == "soft-bounds"
    models = [estimate.model for estimate in finals]
    return soft or all(model.clipped[0] for model in models), soft or all(model.clipped[1] for model in models)


def keys(model: PulseModel, values: Array, scale: DeviceScale, low: float, high: float) -> Keys:
    """Return `device.response` of one device, on the scale where -1 w is `low` and 1 w is `high`, in siemens."""
    per_weight, middle = (high - low) / 2, (high + low) / 2
    at_zero = (middle - scale.centre) / scale.half

    def weight(normalised: float, otherwise: float) -> float:
        siemens = scale.centre + scale.half * normalised
        return (siemens - middle) / per_weight if math.isfinite(normalised) else otherwise

    ends = model.bounds(values)
    response = {"w_min": weight(ends[0], -1.0), "w_max": weight(ends[1], 1.0)}
    sizes = []
    for up, name in ((True, "up"), (False, "down")):
        y = at_zero if up else -at_zero
        size = float(model.curve(values, up, np.array([y]))[0][0]) * scale.half / per_weight
        if model.name == "exp-step":
            factor, exponent = model.exponential(values, up)
            start = math.exp(values[0 if up else 3]) * scale.half / per_weight
            size = start / (1 - factor)
            response[f"a_{name}"] = factor * math.exp(exponent * y)
            response[f"gamma_{name}"] = exponent * per_weight / scale.half
        elif model.name == "linear-step":
            at_bound = float(model.curve(values, up, np.array([y + per_weight / scale.half]))[0][0])
            response[f"gamma_{name}"] = max(0.0, 1 - at_bound * scale.half / per_weight / size) if size > 0 else 0.0
        sizes.append(size)
    mean = (sizes[0] + sizes[1]) / 2
    return {"step": mean, "asymmetry": (sizes[0] - sizes[1]) / (sizes[0] + sizes[1])} | response


def mean_keys(devices: Sequence[Keys]) -> Keys:
    """Return the values of the mean device; exponential factors are averaged as logarithms."""
    means = {}
    for key in devices[0]:
        parts = np.array([one[key] for one in devices])
        if key.startswith("a_") and (np.sign(parts) == np.sign(parts[0])).all() and parts.all():
            means[key] = float(np.sign(parts[0]) * np.exp(np.mean(np.log(np.abs(parts)))))
        else:
            means[key] = float(np.mean(parts))
    return means


def zero_step(values: Keys) -> float:
    """Return the mean size of a pulse at weight 0, over both directions, in w."""
    model = "exp-step" if "a_up" in values else "soft-bounds"
    return step_at_zero(model, Response.model_construct(offset=0.0, **values))  # type: ignore[arg-type]
