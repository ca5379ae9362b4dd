"""How weights are scaled onto the devices of a tile, and what they are there as conductances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scff_hw.errors import UsageError
from scff_hw.hardware.schema import Profile

G_MAX_SIEMENS = 25e-6
"""Conductance at `device.response.w_max` where a profile gives no `device.g_max`: what aihwkit's PCM fits refer to."""

ROUNDING = 1e-6
"""Relative; weights that are no further beyond a bound are at it."""


@dataclass(frozen=True)
class Conductances:
    """What weights on the crossbar are as conductances: linear, from `w_min` at `g_min` to `w_max` at `g_max`.

    Attributes:
        g_min, g_max: siemens, of the mean device at its bounds.
        w_min, w_max: its bounds, in weights on the crossbar.
        paired: a weight is the difference of two devices; else of one device and a fixed reference.
    """

    g_min: float
    g_max: float
    w_min: float
    w_max: float
    paired: bool

    @property
    def per_weight(self) -> float:
        """Siemens of a weight of 1."""
        return (self.g_max - self.g_min) / (self.w_max - self.w_min)

    @property
    def zero(self) -> float:
        """Siemens of a device whose weight is 0: of the reference, and of the device of a pair that is off."""
        return self.g_min - self.w_min * self.per_weight

    def pair(self, weight: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
        """Siemens of the positive and the negative devices, and how many weights were cut at a device's bound."""
        low = -self.w_max if self.paired else self.w_min
        held = np.clip(weight, low, self.w_max)
        cut = np.abs(weight - held) > ROUNDING * (self.w_max - self.w_min)
        up, down = (np.maximum(held, 0), np.maximum(-held, 0)) if self.paired else (held, np.zeros_like(held))
        # a sum's last bit may lie beyond the bound it stands for
        plus, minus = (np.minimum(self.g_min + (v - self.w_min) * self.per_weight, self.g_max) for v in (up, down))
        return plus, minus, int(cut.sum())


def conductances(profile: Profile) -> Conductances:
    """What the mean device of a profile makes of weights.

    A profile without `device.g_max` is taken to have 25 uS there, one without `device.g_min` 0 S.

    Raises:
        UsageError: `device.g_min` alone is given, and is not below 25 uS.
    """
    device, response = profile.device, profile.device.response
    g_min = 0.0 if device.g_min is None else device.g_min
    g_max = G_MAX_SIEMENS if device.g_max is None else device.g_max
    if g_min >= g_max:
        raise UsageError(
            f"The profile '{profile.name}' must give device.g_max, since 25 uS, assumed where it is missing, is not "
            f"above its device.g_min. Got {g_min * 1e6:g} uS for device.g_min and null for device.g_max."
        )
    return Conductances(g_min, g_max, response.w_min, response.w_max, profile.array.cell == "one-sided-pair")


def full_range_scale(weight: NDArray[np.floating], profile: Profile) -> float:
    """What 1 w on a tile stands for when `weight`, the tile's part of a layer, is programmed onto it.

    The smallest scale at which all weights lie within the bounds of the mean device, so that its range is used in
    full; bounds below and above 0 are `device.response.w_min` and `w_max`, those of a one-sided pair plus and minus
    `w_max`. A sign that devices do not have does not count: such weights are cut. 1 for weights that are all 0.
    """
    response, paired = profile.device.response, profile.array.cell == "one-sided-pair"
    high = max(float(weight.max(initial=0.0)), 0.0)
    low = max(-float(weight.min(initial=0.0)), 0.0)
    up, down = response.w_max, response.w_max if paired else -response.w_min
    return max(high / up if up > 0 else 0.0, low / down if down > 0 else 0.0) or 1.0
