"""Analog arrays with broken devices and lines, whose values no write, pulse or refresh changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from scff_hw.backends.analog.array import AnalogArray
from scff_hw.core.arrays import Optimisation
from scff_hw.core.backend import Backend
from scff_hw.core.geometry import Geometry
from scff_hw.core.random import generator
from scff_hw.errors import UsageError, nearest
from scff_hw.hardware.schema import Profile

KINDS = ("stuck-on", "stuck-off", "dead-lines")


@dataclass(frozen=True)
class FaultyBackend(Backend):
    """Backend whose arrays are analog arrays with faults.

    Attributes:
        kind: "stuck-on": devices at their mean upper bound (one device of a pair: weight at +- that bound);
            "stuck-off": devices at their mean lower bound (both devices of a pair: weight 0);
            "dead-lines": whole input and output lines read 0.
        rate: share of broken devices, or of broken input and output lines. With one seed, the faults of a lower rate
            are a subset of those of a higher one.
        from_start: faults are active before learning; otherwise only after `fail` is called on the arrays.

    Raises:
        UsageError: unknown kind.
    """

    name: ClassVar[str] = "faulty"

    profile: Profile
    seed: int
    kind: str
    rate: float
    from_start: bool = True

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(
                f"The kind of faults must be one of {', '.join(KINDS)}. Got '{self.kind}' instead"
                f"{nearest(self.kind, KINDS, '.')}"
            )

    def array(
        self, weight: Tensor, bias: Tensor, geometry: Geometry, optimisation: Optimisation, name: str = ""
    ) -> FaultyArray:
        """Return an array with faults determined by the seed and `name`."""
        return FaultyArray(weight, bias, geometry, optimisation, self, name)


class FaultyArray(AnalogArray):
    """An `AnalogArray` with faults, imposed again after each change of the weights."""

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        geometry: Geometry,
        optimisation: Optimisation,
        faults: FaultyBackend,
        name: str,
    ) -> None:
        super().__init__(weight, bias, geometry, optimisation, faults.profile, faults.seed, name)
        self._faults: list[tuple[Any, Tensor, Tensor]] = []
        self._drawn = [
            (tile, *_draw(faults, tile, name, o, i))
            for o, line in enumerate(self.grid.tiles)
            for i, tile in enumerate(line)
        ]
        if faults.from_start:
            self.fail()

    def fail(self) -> None:
        """Activate the drawn faults."""
        self._faults = self._drawn
        self.impose()

    def impose(self) -> None:
        """Reset all broken devices to their fixed values; needed after updates that bypass `update`."""
        for tile, broken, value in self._faults:
            # memory shared by Python and the simulator: set_weights would rescale the tile
            weight = tile._shared_weight_tensor
            weight.copy_(torch.where(broken, value, weight))

    def write(self, weight: Tensor) -> None:
        super().write(weight)
        self.impose()

    def update(self, x: Tensor, error: Tensor, bias_error: Tensor) -> None:
        super().update(x, error, bias_error)
        self.impose()

    def load_state(self, state: dict[str, Tensor]) -> None:
        super().load_state(state)
        self.impose()


def _draw(faults: FaultyBackend, tile: Any, name: str, row: int, column: int) -> tuple[Tensor, Tensor]:
    """Draw a tile's broken devices; return their mask, bool, and their fixed values, in the units of the tile."""
    shape = tile._shared_weight_tensor.shape
    draw = generator(faults.seed, "faults", faults.kind, name, row, column)
    if faults.kind == "dead-lines":
        outputs, inputs = shape
        dead = torch.rand(outputs, 1, generator=draw) < faults.rate
        return dead | (torch.rand(1, inputs, generator=draw) < faults.rate), torch.zeros(shape)
    broken = torch.rand(shape, generator=draw) < faults.rate
    response = faults.profile.device.response
    pair = faults.profile.array.cell == "one-sided-pair"
    if faults.kind == "stuck-off":
        return broken, torch.full(shape, 0.0 if pair else response.w_min)
    sign = torch.randint(2, shape, generator=draw) * 2 - 1 if pair else torch.ones(shape)
    return broken, response.w_max * sign
