"""Scaling of weights onto the devices of a tile, and conversion of weights to conductances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scff_hw.errors import UsageError
from scff_hw.hardware.schema import Profile

G_MAX_SIEMENS = 25e-6
"""Default of `device.g_max`, the conductance at `device.response.w_max`: the reference of aihwkit's PCM fits."""

ROUNDING = 1e-6
"""Relative tolerance within which a weight counts as at a bound."""


@dataclass(frozen=True)
class Conductances:
    """Linear map from weights on the crossbar to conductances: `w_min` at `g_min`, `w_max` at `g_max`.

    Attributes:
        g_min, g_max: conductances of the mean device at its bounds, siemens.
        w_min, w_max: bounds of the mean device, in weights on the crossbar.
        paired: a weight is the difference of two devices; otherwise of one device and a fixed reference.
    """

    g_min: float
    g_max: float
    w_min: float
    w_max: float
    paired: bool

    @property
    def per_weight(self) -> float:
        """Conductance of a weight of 1, siemens."""
        return (self.g_max - self.g_min) / (self.w_max - self.w_min)

    @property
    def zero(self) -> float:
        """Conductance at weight 0, siemens: that of the reference, and of the unused device of a pair."""
        return self.g_min - self.w_min * self.per_weight

    def pair(self, weight: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
        """Return conductances of the positive and negative devices, siemens, and the number of clipped weights."""
        low = -self.w_max if self.paired else self.w_min
        clipped = np.clip(weight, low, self.w_max)
        cut = np.abs(weight - clipped) > ROUNDING * (self.w_max - self.w_min)
        up, down = (np.maximum(clipped, 0), np.maximum(-clipped, 0)) if self.paired else (clipped,
        np.zeros_like(clipped)) # rounding may exceed the bound
        plus, minus = (np.minimum(self.g_min + (v - self.w_min) * self.per_weight, self.g_max) for v in (up, down))
        return plus, minus, int(cut.sum())


def conductances(profile: Profile) -> Conductances:
    """Return the map from weights to conductances for the mean device of a profile.

    The default of `device.g_max` is 25 uS, that of `device.g_min` is 0 S.

    Raises:
        UsageError: only `device.g_min` is given and is not below 25 uS.
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
    """Return the weight that 1 w on a tile represents when `weight`, the tile's part of a layer, is programmed.

    It is the smallest scale at which all weights are within the bounds of the mean device: its full range is used.
    The bounds are `device.response.w_min` and `w_max`; for a one-sided pair, minus and plus `w_max`. Weights of a sign
    that the devices cannot represent are ignored, and clipped later. 1 if all weights are 0.
    """
    response, paired = profile.device.response, profile.array.cell == "one-sided-pair"
    high = max(float(weight.max(initial=0.0)), 0.0)
    low = max(-float(weight.min(initial=0.0)), 0.0)
    up, down = response.w_max, response.w_max if paired else -response.w_min
    return max(high / up if up > 0 else 0.0, low / down if down > 0 else 0.0) or 1.0
