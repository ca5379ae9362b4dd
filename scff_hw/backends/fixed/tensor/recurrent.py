"""A recurrent layer in fixed point: the steps of `reference.recurrent`, for all sequences of a batch in parallel.

Frames, states and errors passed to arrays are values on their grids; tensors in between are integers stored as
floating point, packed as in `scff_hw.core.packing`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from scff_hw.backends.fixed.formats.formats import LayerFormats, check_alike, check_steps
from scff_hw.backends.fixed.reference.arithmetic import COEFFICIENT_BITS, split
from scff_hw.backends.fixed.reference.layer import MEAN_GUARD_BITS, LayerSpec
from scff_hw.backends.fixed.tensor import arithmetic as tensors
from scff_hw.backends.fixed.tensor.arithmetic import requantise, sum_of_squares
from scff_hw.backends.fixed.tensor.array import FixedArray
from scff_hw.backends.fixed.tensor.layer import pre_activation_scales, requantised, standardised, telemetry
from scff_hw.core.layer import Telemetry
from scff_hw.core.packing import Packing
from scff_hw.core.pairs import Partners, Stream
from scff_hw.core.recurrent import Direction, check_directions, packed
from scff_hw.core.rules import SCFF


@dataclass(frozen=True)
class FixedRecurrentLayer:
    """A recurrent layer with one or two directions, in which all values are integers of declared widths.

    Attributes:
        directions: their arrays are `FixedArray`s with matching formats.
        rule: SCFF's thresholds and penalty; None for a layer that does not learn.
        averages: the output also contains the means of the states over time, after the last states.

    Raises:
        UsageError: no direction, or arrays that do not match.
    """

    directions: tuple[Direction, ...]
    rule: SCFF | None = None
    averages: bool = False
    makes_pairs = True

    def __post_init__(self) -> None:
        check_directions(self.directions)
        check_alike({name: array.formats for name, array in self.arrays.items()})

    @property
    def arrays(self) -> dict[str, FixedArray]:
        """The arrays of all directions by name, e.g. forwards.inputs."""
        return {name: _fixed(array) for direction in self.directions for name, array in direction.arrays.items()}

    @property
    def features_in(self) -> int:
        """Number of values per frame, F."""
        return self.directions[0].inputs.geometry.inputs

    @property
    def units(self) -> int:
        """Number of units per direction."""
        return self.directions[0].inputs.geometry.outputs

    @property
    def formats(self) -> LayerFormats:
        """Formats of the array U of the first direction; most are common to the layer."""
        return _fixed(self.directions[0].hidden).formats

    def spec(self, array: FixedArray) -> LayerSpec:
        """Return the `LayerSpec` of one array (W or U), with which the NumPy reference computes the same integers."""
        rule = self.rule or SCFF(0.0, 0.0)
        return LayerSpec(array.formats, None, True, rule.theta_pos, rule.theta_neg, rule.penalty)

    def learn(
        self, stream: Stream, partners: Partners | None, generator: torch.Generator | None = None
    ) -> tuple[Telemetry, Callable[[bool], Stream]]:
        """Update each array once, from all steps of a batch.

        Args:
            stream: `positive` `[N, T, F]` and `lengths` `[N]`, as for the float layer.
            partners: the negative partner of each sequence.
            generator: not used; convolutional layers draw positions with it.
        Returns:
            The telemetry, and a function that computes the pre-update output of `forward`.

        Raises:
            UsageError: invalid shapes or lengths, or so many steps that a sum could overflow.
        """
        assert self.rule is not None, "learn() needs a layer with a rule"
        assert partners is not None, "a recurrent layer makes its pairs, so it needs partners"
        form, (packing, raw) = self.formats, packed(stream, self.features_in)
        check_steps("this layer", form, len(raw), len(packing.counts))
        others = packing.partner_rows(partners)
        passes = [_unroll(direction, raw, packing, others) for direction in self.directions]
        y = torch.cat([unrolled.y for unrolled in passes], dim=2)
        y_pos, y_neg = y[:, 0], y[:, 1]
        s_pos, s_neg = (sum_of_squares(each, form.output.top)[:, None] for each in (y_pos, y_neg))
        spec, units, count = self.spec(_fixed(self.directions[0].hidden)), y.shape[2], len(packing.order)
        c_pos, c_neg = tensors.coefficients(s_pos, s_neg, spec, units, count)
        _, exponent = split(2 / (units * count))
        shift = exponent + form.output.frac_bits + COEFFICIENT_BITS - form.error.frac_bits
        errors = torch.stack((-y_pos * c_pos, y_neg * c_neg), dim=1)
        errors = requantise(errors, shift, form.error, form.rounding) * 2.0**-form.error.frac_bits
        paired = (others < len(raw)).nonzero()[:, 0]
        for direction, unrolled, error in zip(self.directions, passes, errors.split(self.units, 2), strict=True):
            positive, negative = error[:, 0], error[:, 1]
            at_inputs = torch.add(negative, positive, alpha=2).index_add_(0, others[paired], negative[paired])
            at_bias = error.sum(dim=(0, 1), dtype=torch.float64)
            _fixed(direction.inputs).update_on_grid(unrolled.frames, at_inputs, at_bias, addends=4)
            _fixed(direction.hidden).update_on_grid(unrolled.read.flatten(0, 1), error.flatten(0, 1), at_bias)
        report = telemetry(self.rule, form, s_pos, s_neg, y.amax(dim=(0, 1)))
        return report, lambda negative: self._output(packing, passes, negative)

    def forward(self, stream: Stream, partners: Partners | None = None) -> Stream:
        """Return the output for each sequence paired with itself; includes the negative pairs if partners are given.

        Args:
            stream: as in `learn`.
        Returns:
            `[N, D units]`, in the order of the D directions; with `averages` `[N, 2 D units]`; on the grid of
            `transmitted`.
        """
        packing, raw = packed(stream, self.features_in)
        check_steps("this layer", self.formats, None, len(packing.counts))
        others = None if partners is None else packing.partner_rows(partners)
        passes = [_unroll(direction, raw, packing, others) for direction in self.directions]
        return self._output(packing, passes, partners is not None)

    def features(self, output: Tensor) -> Tensor:
        """Return the readout features: the output in the format `feature`, since states are already standardised."""
        form = self.formats
        shift = form.transmitted.frac_bits - form.feature.frac_bits
        x = requantise(output * 2.0**form.transmitted.frac_bits, shift, form.feature, form.rounding)
        return x * 2.0**-form.feature.frac_bits

    def _output(self, packing: Packing, passes: list[_Unrolled], negative: bool) -> Stream:
        form = self.formats
        shift = form.standardised.frac_bits - form.transmitted.frac_bits
        parts = [requantise(unrolled.final, shift, form.transmitted, form.rounding) for unrolled in passes]
        if self.averages:
            steps = packing.lengths.view(-1, 1, 1)
            means = [tensors.divide(unrolled.total * 2.0**MEAN_GUARD_BITS, steps) for unrolled in passes]
            shift += MEAN_GUARD_BITS
            parts += [requantise(mean, shift, form.transmitted, form.rounding) for mean in means]
        states = torch.cat(parts, dim=2).index_select(0, packing.rank) * 2.0**-form.transmitted.frac_bits
        return Stream(states[:, 0], states[:, 1] if negative else None)


@dataclass(frozen=True)
class _Unrolled:
    """The unrolled pass of a direction; P is 2 with negative pairs, else 1.

    Attributes:
        frames: `[M, F]`, frames that W read, values on their grid.
        read: `[M, P, units]`, states that U read, values on their grid.
        y: `[M, P, units]`, outputs, integers.
        final: `[N, P, units]`, the last states, integers, in the order of the packing.
        total: `[N, P, units]`, sums of states over time, integers, in the order of the packing.
    """

    frames: Tensor
    read: Tensor
    y: Tensor
    final: Tensor
    total: Tensor


def _unroll(direction: Direction, raw: Tensor, packing: Packing, others: Tensor | None) -> _Unrolled:
    """Compute all steps of a direction from raw frames `[M, F]`."""
    inputs, hidden = _fixed(direction.inputs), _fixed(direction.hidden)
    form, unit = hidden.formats, 2.0**-hidden.formats.standardised.frac_bits
    frames = standardised(raw, 0, inputs.formats, varying=True)
    drive = _input_drive(inputs, frames, others)
    scales: tuple[Tensor, Tensor, Tensor] | None = None
    states = total = drive.new_zeros(len(packing.order), *drive.shape[1:])
    parts = drive.split(packing.counts)
    read, y = list(parts), list(parts)
    steps = range(len(parts))
    for step in reversed(steps) if direction.backwards else steps:
        count = packing.counts[step]
        active = read[step] = states[:count] * unit
        u = hidden.mvm_on_grid(active.flatten(0, 1))
        scales = scales or pre_activation_scales(hidden, u)
        z = parts[step] + requantised(u, *scales, form).view_as(active)
        shift = form.pre_activation.frac_bits - form.output.frac_bits
        y[step] = requantise(torch.relu(z), shift, form.output, form.rounding)
        new = tensors.standardise(y[step].flatten(0, 1), form.standardised, form.rounding, varying=True)
        new = new.view_as(active)
        states, total = torch.cat((new, states[count:])), torch.cat((total[:count] + new, total[count:]))
    return _Unrolled(frames, torch.cat(read), torch.cat(y), states, total)


def _input_drive(inputs: FixedArray, frames: Tensor, others: Tensor | None) -> Tensor:
    """Return the input drive: W times the frames, plus the bias of W; integers `[M, P, units]`, float32."""
    u = inputs.mvm_on_grid(frames)
    scale, bias, shift = pre_activation_scales(inputs, u)
    v = requantised(u, scale, torch.zeros_like(bias), shift, inputs.formats)
    b = requantised(torch.zeros_like(bias), scale, bias, shift, inputs.formats)
    positive = 2 * v + b
    if others is None:
        return positive.unsqueeze(1)
    padded = torch.cat((v, v.new_zeros(1, v.shape[1])))  # row M is 0: the partner has ended
    return torch.stack((positive, padded.index_select(0, others).add_(v).add_(b)), dim=1)


def _fixed(array: object) -> FixedArray:
    assert isinstance(array, FixedArray), "a fixed-point layer needs arrays of the fixed backend"
    return array
