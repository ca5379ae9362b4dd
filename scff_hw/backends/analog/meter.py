"""Device metrics while an array learns: number of pulses, shares of clipped updates and of weights at bounds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from scff_hw.hardware.schema import Profile

if TYPE_CHECKING:
    from scff_hw.backends.analog.tiles import TileGrid


class PulseMeter:
    """Counts pulses and clipped changes over updates, from inputs and errors alone; reads no device.

    One sample requests a change `rate |x_i e_j|` of a cross point, limited to `max_pulses` steps. aihwkit draws
    pulses of its row with a probability proportional to `|x_i|`, of its column to `|e_j|`, both clipped at 1; a device
    is pulsed where they coincide (PulsedUpdateMetaParameter of aihwkit 1.2.0). The expected number is counted.

    Attributes:
        counts: float64 `[3]`: requested changes, clipped changes, pulses.
    """

    def __init__(self, profile: Profile, grid: TileGrid) -> None:
        self.counts = torch.zeros(3, dtype=torch.float64)
        self._grid = grid
        self._pulsed = profile.device.model != "exact"
        self._step = grid.granularity() if self._pulsed else 0.0
        self._learning = profile.learning
        self._one_sided = profile.array.cell == "one-sided-pair"

    def count(self, x: Tensor, error: Tensor, rate: float) -> None:
        """Count one update with `x` `[R, inputs]` and `error` `[R, outputs]`."""
        if not self._pulsed or not len(x) or not rate:
            return
        inputs = [_Lines.of(part) for part in x.abs().split(self._grid.input_sizes, dim=1)]
        errors = [_Lines.of(part) for part in error.abs().split(self._grid.output_sizes, dim=1)]
        for scales, e in zip(self._grid.scales(), errors, strict=True):
            for scale, part in zip(scales, inputs, strict=True):
                self._count_tile(part, e, rate / self._step / scale)

    def _count_tile(self, x: _Lines, error: _Lines, gain: float) -> None:
        """Count one tile; `gain` is the number of steps for an input and an error of 1."""
        longest, learning = self._learning.max_pulses, self._learning
        requested = x.active @ error.active
        x_sum, e_sum, clipped = x.total, error.total, 0.0
        if learning.update_management or learning.pulse_management:
            # row probabilities reach 1; columns are clipped at the error that needs more than a whole train
            steps = gain * x.largest * error.largest
            if float(steps.max()) > longest:
                reach = (error.largest * (longest / steps.clamp_min(1e-30)).clamp_max(1)).unsqueeze(1)
                clipped = float(x.active @ _sums(error.values > reach * (1 + 1e-6)))
                e_sum = _sums(error.values.minimum(reach))
        else:
            reach = torch.tensor((longest / gain) ** 0.5)
            within_x, within_e = x.active - _sums(x.values > reach), error.active - _sums(error.values > reach)
            clipped = float(requested - within_x @ within_e)
            x_sum, e_sum = _sums(x.values.minimum(reach)), _sums(error.values.minimum(reach))
        self.counts += torch.tensor([float(requested), clipped, gain * float(x_sum @ e_sum)], dtype=torch.float64)

    def take(self) -> dict[str, float]:
        """Return the metrics since the last call; resets the counts.

        Returns:
            `clipped_updates`: share of the requested changes that exceed a whole train of pulses.
            `weights_at_bounds`: share of devices now within half a step of one of their bounds; in one-sided pairs,
                whose idle devices are at the lower bound, only the upper bound counts.
            `pulses`: expected number of pulses on devices.
            `device_fullness`, `device_fullness_p90`, for one-sided pairs: used share of a device's range, 0 at its
                lower and 1 at its upper bound, mean and 90th percentile over devices. The weight, the difference of
                a pair, may be small while both devices are full and hardly change any more.
        """
        requested, clipped, pulses = self.counts.tolist()
        self.counts.zero_()
        metrics = {
            "clipped_updates": clipped / requested if requested else 0.0,
            "weights_at_bounds": at_bounds(self._grid, self._step / 2, self._one_sided) if self._pulsed else 0.0,
            "pulses": pulses,
        }
        if self._one_sided:
            used = torch.cat([used for _, _, used in _devices(self._grid)])
            metrics |= {"device_fullness": float(used.mean()), "device_fullness_p90": _quantile(used, 0.9)}
        return metrics


@dataclass(frozen=True)
class _Lines:
    """Magnitudes `[R, lines]`, and per row `[R]` the number of nonzero values, their sum and the largest."""

    values: Tensor
    active: Tensor
    total: Tensor
    largest: Tensor

    @classmethod
    def of(cls, values: Tensor) -> _Lines:
        return cls(values, _sums(values.sign()), _sums(values), values.amax(1))


def _sums(values: Tensor) -> Tensor:
    """Return the sum of each row, float32 `[R]`."""
    return values.float() @ torch.ones(values.shape[1])


def at_bounds(grid: TileGrid, within: float, upper_only: bool = False) -> float:
    """Return the share of devices, both of each pair, at most `within` (in crossbar units) away from a bound."""
    at, count = 0, 0
    for below, above, _ in _devices(grid):
        near = above <= within if upper_only else (above <= within) | (below <= within)
        at += int(near.sum())
        count += near.numel()
    return at / count if count else 0.0


def _devices(grid: TileGrid) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield per tile, flat over devices: distance to the lower and to the upper bound, and used share of the range.

    For a stuck device, which has no range, the used share is 1.
    """
    for tile in grid:
        hidden = tile.get_hidden_parameters()
        for name, upper in hidden.items():
            if not name.startswith("max_bound"):
                continue
            suffix = name.removeprefix("max_bound")
            weight = hidden[f"hidden_weights{suffix}"] if suffix else tile.tile.get_weights()
            lower = hidden[f"min_bound{suffix}"]
            span = upper - lower
            used = torch.where(span > 0, (weight - lower) / span.clamp_min(1e-30), 1.0).clamp(0, 1)
            yield (weight - lower).flatten(), (upper - weight).flatten(), used.flatten()


def _quantile(values: Tensor, share: float) -> float:
    """Return the quantile `share`, 0..1, of `values`; `torch.quantile` rejects more than 2^24 values."""
    return float(values.kthvalue(max(1, round(share * len(values)))).values)
