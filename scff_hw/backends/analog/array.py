"""The array of the analog backend: `mvm` and `update` on crossbar tiles, without autograd or transposed reads."""

from __future__ import annotations

import torch
from torch import Tensor

from scff_hw.backends.analog.meter import PulseMeter
from scff_hw.backends.analog.tiles import TileGrid
from scff_hw.backends.state import check_plain_sgd, check_state
from scff_hw.core.arrays import Optimisation
from scff_hw.core.geometry import Geometry
from scff_hw.errors import UsageError
from scff_hw.hardware.schema import Profile


class AnalogArray:
    """One layer's weights on crossbar tiles; the bias is digital and learns as in the float backend.

    Error and learning rate are passed to the tiles unchanged except for the division by each tile's weight scale, so
    exact devices make exactly the float backend's SGD step. Rows of the first and the second half of a batch alternate:
    this interleaves the updates of concatenated positive and negative streams, and asymmetric devices drift far
    less than with all positive updates first.

    Attributes:
        geometry: geometry of the layer; a convolution is unfolded into one row per receptive field.
        profile: hardware profile.
        learning_rate: rate of the next update.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        geometry: Geometry,
        optimisation: Optimisation,
        profile: Profile,
        seed: int,
        name: str = "",
    ) -> None:
        geometry.check_weight(weight)
        check_optimisation(optimisation, name)
        check_wires(profile)
        self.geometry = geometry
        self.profile = profile
        self.learning_rate = optimisation.learning_rate
        self.grid = TileGrid(weight.detach().flatten(1), profile, seed, name)
        self._bias = bias.detach().to(torch.float32, copy=True)
        self._meter = PulseMeter(profile, self.grid)
        self._rows: tuple[Tensor, Tensor] | None = None

    @property
    def bias(self) -> Tensor:
        return self._bias

    @property
    def weight(self) -> Tensor:
        return self.grid.read().view(self.geometry.weight_shape)

    def write(self, weight: Tensor) -> None:
        """Write weights of shape `geometry.weight_shape` to the tiles, exactly up to the devices' bounds.

        The scale of the tiles stays that of the first weights.
        """
        self.geometry.check_weight(weight)
        self.grid.write(weight.detach().flatten(1))

    def mvm(self, x: Tensor) -> Tensor:
        return self.geometry.fold(self.grid.mvm(self._prepare(x)), x)

    def update(self, x: Tensor, error: Tensor, bias_error: Tensor) -> None:
        rows = self._prepare(x)
        self._rows = None
        rows, errors = _interleaved(rows, self.geometry.columns(error).float())
        rate = self.learning_rate * self.profile.learning.learning_rate_factor
        self._meter.count(rows, errors, rate)
        self.grid.update(rows, errors, rate)
        self._bias -= self.learning_rate * bias_error.to(self._bias.dtype)

    def weight_range(self) -> tuple[float, float]:
        low, high = self.grid.read().aminmax()
        return float(low), float(high)

    def take_metrics(self) -> dict[str, float]:
        """Return the pulse and bound metrics of the devices since the last call: see `PulseMeter.take`."""
        return self._meter.take()

    def state(self) -> dict[str, Tensor]:
        state = {"weight": self.weight, "bias": self._bias.clone(), "meter": self._meter.counts.clone()}
        return state | self.grid.state()

    def load_state(self, state: dict[str, Tensor]) -> None:
        check_state(self.state(), state)
        self.grid.load_state(state)
        self._bias.copy_(state["bias"])
        self._meter.counts.copy_(state["meter"])

    def _prepare(self, x: Tensor) -> Tensor:
        """Return the input as rows `[R * positions, fan_in]`; cached from an `mvm` to the `update` of the same `x`."""
        if self._rows is None or self._rows[0] is not x:
            self.geometry.check_input(x)
            self._rows = (x, self.geometry.rows(x.float()))
        return self._rows[1]


def _interleaved(rows: Tensor, errors: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows with a nonzero error, alternating between the first and the second half of the batch."""
    count = len(rows)
    order = torch.arange(count) if count % 2 else torch.arange(count).view(2, -1).T.flatten()
    active = errors.any(dim=1)[order]
    if not active.all():
        order = order[active]
    return rows.index_select(0, order), errors.index_select(0, order)


def check_optimisation(optimisation: Optimisation, name: str) -> None:
    """Check that the optimiser of the array `name`, e.g. layers.1, is plain SGD; errors name the options to change."""
    check_plain_sgd(optimisation, name, "analog", "a pulse changes a weight, and nothing stores moments")


def check_wires(profile: Profile) -> None:
    """Check that the simulator models the profile's wires during learning.

    Raises:
        UsageError: `periphery.wire_resistance` with cells other than one-sided pairs.
    """
    periphery = profile.periphery
    if periphery.wire_resistance and not periphery.perfect and profile.array.cell != "one-sided-pair":
        raise UsageError(
            f"The periphery.wire_resistance of a profile to learn on must be 0 ohm where array.cell is "
            f"{profile.array.cell}: the simulator has the IR drop of output lines of one-sided pairs only. Got "
            f"{periphery.wire_resistance:g} ohm in '{profile.name}' instead; write periphery.wire_resistance: 0 ohm, "
            "or measure programmed weights, whose wires are solved: scff-hw evaluate RUN --profile."
        )
