"""What devices go through while an array learns: pulses, updates that were cut short, weights at their bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from scff_hw.hardware.schema import Profile

if TYPE_CHECKING:
    from scff_hw.backends.analog.tiles import TileGrid

REQUESTED, CUT, PULSES = range(3)


class PulseMeter:
    """Counts over updates, from inputs and errors alone: no device is read.

    One sample asks a cross point for a change `rate |x_i e_j|`, and can have at most `max_pulses` steps. aihwkit draws
    pulses of its row with a probability proportional to `|x_i|`, of its column to `|e_j|`, both cut at 1; a device is
    pulsed where they coincide (PulsedUpdateMetaParameter of aihwkit 1.2.0). Counted is the expected number.

    Attributes:
        counts: float64 `[3]`: changes asked for, those cut short, pulses.
    """

    def __init__(self, profile: Profile, grid: TileGrid) -> None:
        self.counts = torch.zeros(3, dtype=torch.float64)
        self._grid = grid
        self._pulsed = profile.device.model != "exact"
        self._step = grid.granularity() if self._pulsed else 0.0
        self._learning = profile.learning

    def count(self, x: Tensor, error: Tensor, rate: float) -> None:
        """Add one update of `[R, inputs]` by `[R, outputs]`."""
        if not self._pulsed or not len(x) or not rate:
            return
        inputs = x.abs().split(self._grid.input_sizes, dim=1)
        errors = error.abs().split(self._grid.output_sizes, dim=1)
        for scales, e in zip(self._grid.scales(), errors, strict=True):
            for scale, part in zip(scales, inputs, strict=True):
                self._count_tile(part, e, rate / self._step / scale)

    def _count_tile(self, x: Tensor, error: Tensor, gain: float) -> None:
        """One tile; `gain` is the steps that an input and an error of 1 ask for."""
        longest, learning = self._learning.max_pulses, self._learning
        if learning.update_management or learning.pulse_management:
            # rows are pulsed up to certainty, and columns where their error does not exceed what a train can do
            x_reach = None
            steps = gain * x.amax(1) * error.amax(1)
            e_reach = (error.amax(1) * (longest / steps.clamp_min(1e-30)).clamp_max(1)).unsqueeze(1)
        else:
            x_reach = e_reach = torch.tensor((longest / gain) ** 0.5)
        x_active, e_active = x.count_nonzero(1), error.count_nonzero(1)
        x_whole = x_active if x_reach is None else x_active - (x > x_reach).sum(1)
        e_whole = e_active - (error > e_reach * (1 + 1e-6)).sum(1)
        x_passed = x if x_reach is None else x.minimum(x_reach)
        self.counts[REQUESTED] += float((x_active * e_active).sum())
        self.counts[CUT] += float((x_active * e_active - x_whole * e_whole).sum())
        self.counts[PULSES] += gain * float((x_passed.sum(1) * error.minimum(e_reach).sum(1)).sum())

    def take(self) -> dict[str, float]:
        """Figures since the last call, and a fresh start.

        Returns:
            `clipped_updates`: share of the changes asked for that were larger than a whole train of pulses.
            `weights_at_bounds`: share of weights now within half a step of a bound of their device.
            `pulses`: expected number of pulses on devices.
        """
        requested, cut, pulses = self.counts.tolist()
        self.counts.zero_()
        return {
            "clipped_updates": cut / requested if requested else 0.0,
            "weights_at_bounds": at_bounds(self._grid, self._step / 2) if self._pulsed else 0.0,
            "pulses": pulses,
        }


def at_bounds(grid: TileGrid, within: float) -> float:
    """Share of devices whose weight is `within` (on the crossbar) of a bound; both devices of a pair count."""
    at, count = 0, 0
    for tile in grid:
        hidden = tile.get_hidden_parameters()
        for name, upper in hidden.items():
            if not name.startswith("max_bound"):
                continue
            suffix = name.removeprefix("max_bound")
            weight = hidden[f"hidden_weights{suffix}"] if suffix else tile.tile.get_weights()
            lower = hidden[f"min_bound{suffix}"]
            at += int(((weight >= upper - within) | (weight <= lower + within)).sum())
            count += weight.numel()
    return at / count if count else 0.0
