"""One layer's weights in fixed point: a Brevitas layer with the weights, and the update in integers."""

from __future__ import annotations

import torch
from torch import Tensor

from scff_hw.backends.fixed.formats.formats import LayerFormats, QFormat, check_weights
from scff_hw.backends.fixed.reference.arithmetic import first_states, rate_shift
from scff_hw.backends.fixed.tensor.arithmetic import EXACT, nearest, scales
from scff_hw.backends.fixed.tensor.quantisers import quant_identity, quant_layer
from scff_hw.backends.fixed.tensor.update import (
    dithering,
    fast_draws,
    requantised_weights,
    stepped,
    stepped_stochastically,
)
from scff_hw.backends.state import check_plain_sgd, check_state
from scff_hw.core.arrays import Optimisation
from scff_hw.core.compiling import compiled_if_large
from scff_hw.core.geometry import Geometry, Prepared, Workspace
from scff_hw.errors import CheckpointError

COUNTED = 4
"""Samples per batch that are checked for clipped values."""

METERED = "inputs", "errors"
"""Tensors whose clipped values are counted."""

MANY_PARTS = 64
"""Number of float32 products above which one float64 product is faster."""


class FixedArray:
    """Weights, shadow weights and biases as integers; inputs and outputs are values on the grids of their formats.

    `mvm` and `update` first quantise their arguments to those grids, so any caller may use them.

    Attributes:
        module: the Brevitas layer with the weights and their quantiser; `module(quantise_input(x))` equals `mvm(x)`.
        quantise_input, quantise_error: the Brevitas quantisers of inputs and errors.
        formats: formats of the layer's tensors.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        geometry: Geometry,
        optimisation: Optimisation,
        formats: LayerFormats,
        seed: int = 0,
        name: str = "this array",
    ) -> None:
        geometry.check_weight(weight)
        check_optimisation(optimisation, name)
        form = formats.weight
        largest = weight.abs().flatten(1).amax(dim=1) if len(form.fracs) > 1 else weight.abs().max().view(1)
        check_weights(name, largest.tolist(), form)
        self.geometry, self.formats = geometry, formats
        self.module = quant_layer(geometry, form, torch.zeros(geometry.weight_shape))
        self.quantise_input = quant_identity(formats.standardised)
        self.quantise_error = quant_identity(formats.error)
        self._unit = scales(form, weight.dim()).float()
        # float32 represents integers of 16 bits exactly, and their sums
        dtype = torch.float32 if formats.stored.bits <= 16 else torch.float64
        self._stored = _integers(weight, formats.stored).to(dtype).flatten(1)
        self._steps = scales(formats.stored, 2, inverse=True)
        self._bias = _integers(bias, formats.bias)
        self._states = first_states(seed, geometry.outputs)
        self.learning_rate = optimisation.learning_rate
        self._workspace = Workspace()
        self._prepared: tuple[Tensor, Prepared] | None = None
        # clipped values and checked values since the last take_metrics
        self._counts = torch.zeros(len(METERED), 2, dtype=torch.int64)
        self._put(self._stored)

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next update: the power of two nearest to the requested rate, applied as a shift."""
        return 2.0**-self.rate_shift

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self.rate_shift = rate_shift(value)

    @property
    def bias(self) -> Tensor:
        return (self._bias * scales(self.formats.bias, 1)).float()

    @property
    def accumulator_bias(self) -> Tensor:
        """Biases `[outputs]` as integers at the accumulator's scale."""
        guard = self.formats.bias.fracs[0] - self.formats.accumulator.fracs[0]
        return nearest(self._bias * 2.0**-guard, self.formats.rounding)

    @property
    def weight(self) -> Tensor:
        return self.module.weight.detach().clone()

    def mvm(self, x: Tensor) -> Tensor:
        return self.mvm_on_grid(self.quantise_input(x.float()))

    def update(self, x: Tensor, error: Tensor, bias_error: Tensor) -> None:
        self.update_on_grid(self.quantise_input(x.float()), self.quantise_error(error), bias_error)

    def mvm_on_grid(self, x: Tensor) -> Tensor:
        """Return `W x` for inputs already on their grid; float64 if integers could leave float32's exact range."""
        prepared = self._prepare(x)
        weight = self.module.weight
        if self._row_sum * self.formats.standardised.top + self._bias_size >= EXACT[self.formats.rounding]:
            return self.geometry.mvm(x.double(), weight.double())
        # weights are already on their grid, so they need no quantisation
        return prepared.mvm(weight)

    def update_on_grid(self, x: Tensor, error: Tensor, bias_error: Tensor, *, addends: int = 1) -> None:
        """Update the weights as `update` does, from inputs and errors already on their grids.

        Args:
            addends: each given error is a sum of this many errors in the format `error`.
        """
        formats = self.formats
        prepared = self._prepare(x)
        self._prepared = None
        self._count("inputs", x, formats.standardised)
        if addends == 1:
            self._count("errors", error, formats.error)
        gradient = self._gradient(x, prepared, error, addends).flatten(1)
        rate = 2.0**-self.rate_shift
        per_step = (self._steps * rate).to(gradient)
        if formats.stochastic:
            drawn, self._states = fast_draws(self._states, gradient.shape[1])
            shifts = [formats.gradient.frac_bits + self.rate_shift - frac for frac in formats.stored.fracs]
            self._write(
                *compiled_if_large(stepped_stochastically, gradient)(
                    self._stored, gradient, per_step, drawn, *dithering(shifts), formats
                )
            )
        else:
            self._write(*compiled_if_large(stepped, gradient)(self._stored, gradient, per_step, formats))
        total = torch.round(bias_error.double() * 2.0**formats.error.frac_bits) * 2.0**-formats.error.frac_bits
        change = nearest(total * scales(formats.bias, 1, inverse=True) * rate, formats.rounding)
        self._bias = (self._bias - change).clamp_(-formats.bias.top, formats.bias.top)
        self._bias_size = float(self.accumulator_bias.abs().max())

    def weight_range(self) -> tuple[float, float]:
        low, high = self.module.weight.aminmax()
        return float(low), float(high)

    def take_metrics(self) -> dict[str, float]:
        """Return shares of clipped inputs and errors (some samples per batch) and of weights at bounds."""
        counts = zip(METERED, self._counts.tolist(), strict=True)
        metrics = {f"clipped_{name}": clipped / count if count else 0.0 for name, (clipped, count) in counts}
        self._counts.zero_()
        top = self.module.weight.abs() >= self.formats.weight.top * self._unit
        return metrics | {"weights_at_bounds": float(top.float().mean())}

    def state(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self._state().items()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        check_state(self._state(), state)
        stored = state["held"].flatten(1).to(self._stored)
        weight = requantised_weights(stored, self.formats)[0].view(self.geometry.weight_shape) * self._unit
        if not torch.equal(weight, state["weight"]):
            raise CheckpointError("The state was saved in other formats than this array's: its weights do not follow.")
        self._bias = state["bias"].to(self._bias).clone()
        self._states = state["states"].to(torch.int64).numpy().astype("uint32")
        self._counts.copy_(state["meter"])
        self._put(stored)

    def _state(self) -> dict[str, Tensor]:
        states = torch.from_numpy(self._states.astype("int64"))
        stored = self._stored.view(self.geometry.weight_shape)
        weight = self.module.weight.detach()
        return {"weight": weight, "held": stored, "bias": self._bias, "states": states, "meter": self._counts}

    def _put(self, stored: Tensor) -> None:
        self._write(stored.clone(), *requantised_weights(stored, self.formats))
        self._bias_size = float(self.accumulator_bias.abs().max())

    def _write(self, stored: Tensor, weight: Tensor, row_sums: Tensor) -> None:
        """Set the stored weights and the weights requantised for the MVM; integers `[outputs, fan_in]`."""
        self._stored = stored
        self._row_sum = float(row_sums.max())
        torch.mul(weight.view(self.geometry.weight_shape), self._unit, out=self.module.weight.data)

    def _prepare(self, x: Tensor) -> Prepared:
        """Return `x` prepared for its products; cached from an MVM to the update with the same `x`."""
        if self._prepared is None or self._prepared[0] is not x:
            self.geometry.check_input(x)
            self._prepared = (x, self.geometry.prepare(x, self._workspace, exact=True))
        return self._prepared[1]

    def _gradient(self, x: Tensor, prepared: Prepared, error: Tensor, addends: int) -> Tensor:
        """Return `sum error x^T`, exact: in float32 for as many samples as stay exact, groups summed in float64."""
        formats = self.formats
        products = EXACT[formats.rounding] // (addends * formats.error.top * formats.standardised.top)
        samples = products // (error[0, 0].numel() if error.dim() > 2 else 1)
        if len(error) <= samples:
            return prepared.outer(error)
        if samples and prepared.sums_samples:
            return prepared.outer(error, torch.float64)
        if samples * MANY_PARTS < len(error):
            return self.geometry.weight_gradient(x.double(), error.double())
        total = torch.zeros(self.geometry.weight_shape, dtype=torch.float64)
        for start in range(0, len(error), samples):
            part = error[start : start + samples]
            total += prepared.narrow(start, len(part)).outer(part)
        return total

    def _count(self, name: str, values: Tensor, form: QFormat) -> None:
        """Count clipped values in a few rows spread over a batch; checking all would cost as much as computing them."""
        values = values[:: max(1, len(values) // COUNTED)][:COUNTED]
        clipped = int((values.abs() >= form.top * 2.0**-form.frac_bits).sum())
        self._counts[METERED.index(name)] += torch.tensor([clipped, values.numel()])


def _integers(x: Tensor, form: QFormat) -> Tensor:
    """Quantise to integers of a format, halves to even, saturating; float64."""
    return torch.round(x.detach().double() * scales(form, x.dim(), inverse=True)).clamp(-form.top, form.top)


def check_optimisation(optimisation: Optimisation, name: str) -> None:
    """Check that the optimiser of the array `name`, e.g. layers.1, is plain SGD; errors name the options to change."""
    check_plain_sgd(optimisation, name, "fixed", "moments would take more memory than the weights")
