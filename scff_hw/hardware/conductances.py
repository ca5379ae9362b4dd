"""Weights on the crossbar as conductances of devices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
        up, down = (np.maximum(held, 0), np.maximum(-held, 0)) if self.paired else (held, np.zeros_like(held))
        # a sum's last bit may lie beyond the bound it stands for
        plus, minus = (np.minimum(self.g_min + (v - self.w_min) * self.per_weight, self.g_max) for v in (up, down))
        return plus, minus, int((held != weight).sum())
