"""A recurrent layer in fixed point: the steps of `recurrent_reference`, all sequences of a batch side by side.

Frames, states and errors given to arrays are numbers on their grids; everything between is integers held as floating
point, packed as in `scff_hw.core.packing`.
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
from scff_hw.core.recurrent import Direction, check_directions, packed
from scff_hw.core.rules import SCFF
from scff_hw.core.streams import Partners, Stream


@dataclass(frozen=True)
class FixedRecurrentLayer:
    """One direction or two in which every number is an integer of a declared width.

    Attributes:
        directions: their arrays are `FixedArray`s, of formats that fit each other.
        rule: SCFF's thresholds and penalty; None for a layer that does not learn.
        averages: passes on the means of the states over time too, behind the last ones.

    Raises:
        UsageError: no direction, or arrays that do not fit each other.
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
        return {name: _fixed(array) for each in self.directions for name, array in each.arrays.items()}

    @property
    def features_in(self) -> int:
        """Values a frame."""
        return self.directions[0].inputs.geometry.inputs

    @property
    def units(self) -> int:
        """Units of each direction."""
        return self.directions[0].inputs.geometry.outputs

    @property
    def formats(self) -> LayerFormats:
        """Those of an array that reads states, most of which are the layer's."""
        return _fixed(self.directions[0].hidden).formats

    def spec(self, array: FixedArray) -> LayerSpec:
        """One of the layer's arrays, as the reference takes it."""
        rule = self.rule or SCFF(0.0, 0.0)
        return LayerSpec(array.formats, None, True, rule.theta_pos, rule.theta_neg, rule.penalty)

    def learn(
        self, stream: Stream, partners: Partners | None, generator: torch.Generator | None = None
    ) -> tuple[Telemetry, Callable[[bool], Stream]]:
        """Change every array once, from all steps of a batch.

        Args:
            stream: `positive` `[N, T, F]` and `lengths` `[N]`, as the float layer takes them.
            partners: who is whose negative.
            generator: not used; other layers draw positions.
        Returns:
            Figures of the batch, and how to obtain what `forward` gave before the update.

        Raises:
            UsageError: shapes or lengths that do not fit, or so many steps that a sum could overflow.
        """
        assert self.rule is not None, "a layer without a rule was asked to learn"
        assert partners is not None, "a recurrent layer makes its pairs but was given no partners"
        form, (packing, raw) = self.formats, packed(stream, self.features_in)
        check_steps("this layer", form, len(raw), len(packing.counts))
        others = packing.partner_rows(partners)
        walks = [_walk(direction, raw, packing, others) for direction in self.directions]
        y = torch.cat([walk.y for walk in walks], dim=2)
        y_pos, y_neg = y[:, 0], y[:, 1]
        s_pos, s_neg = (sum_of_squares(each, form.output.top)[:, None] for each in (y_pos, y_neg))
        spec, units, count = self.spec(_fixed(self.directions[0].hidden)), y.shape[2], len(packing.order)
        c_pos, c_neg = tensors.coefficients(s_pos, s_neg, spec, units, count)
        _, exponent = split(2 / (units * count))
        shift = exponent + form.output.one + COEFFICIENT_BITS - form.error.one
        errors = torch.stack((-y_pos * c_pos, y_neg * c_neg), dim=1)
        errors = requantise(errors, shift, form.error, form.rounding) * 2.0**-form.error.one
        paired = (others < len(raw)).nonzero()[:, 0]
        for direction, walk, error in zip(self.directions, walks, errors.split(self.units, 2), strict=True):
            positive, negative = error[:, 0], error[:, 1]
            at_inputs = torch.add(negative, positive, alpha=2).index_add_(0, others[paired], negative[paired])
            at_bias = error.sum(dim=(0, 1), dtype=torch.float64)
            _fixed(direction.inputs).update_on_grid(walk.frames, at_inputs, at_bias, addends=4)
            _fixed(direction.hidden).update_on_grid(walk.read.flatten(0, 1), error.flatten(0, 1), at_bias)
        figures = telemetry(self.rule, form, s_pos, s_neg, y.amax(dim=(0, 1)))
        return figures, lambda negative: self._left(packing, walks, negative)

    def forward(self, stream: Stream, partners: Partners | None = None) -> Stream:
        """What each sequence, paired with itself, passes on; its negative pair's too where partners are given.

        Args:
            stream: as in `learn`.
        Returns:
            `[N, D units]`, the first direction's first; with `averages` `[N, 2 D units]`; on the grid of
            `transmitted`.
        """
        packing, raw = packed(stream, self.features_in)
        check_steps("this layer", self.formats, None, len(packing.counts))
        others = None if partners is None else packing.partner_rows(partners)
        walks = [_walk(direction, raw, packing, others) for direction in self.directions]
        return self._left(packing, walks, partners is not None)

    def features(self, output: Tensor) -> Tensor:
        """What the readout reads of what is passed on: itself in `feature`, for states are standardised already."""
        form = self.formats
        shift = form.transmitted.one - form.feature.one
        x = requantise(output * 2.0**form.transmitted.one, shift, form.feature, form.rounding)
        return x * 2.0**-form.feature.one

    def _left(self, packing: Packing, walks: list[_Walk], negative: bool) -> Stream:
        form = self.formats
        shift = form.standardised.one - form.transmitted.one
        parts = [requantise(walk.final, shift, form.transmitted, form.rounding) for walk in walks]
        if self.averages:
            steps = packing.lengths.view(-1, 1, 1)
            means = [tensors.divide(walk.total * 2.0**MEAN_GUARD_BITS, steps) for walk in walks]
            shift += MEAN_GUARD_BITS
            parts += [requantise(mean, shift, form.transmitted, form.rounding) for mean in means]
        states = torch.cat(parts, dim=2).index_select(0, packing.place) * 2.0**-form.transmitted.one
        return Stream(states[:, 0], states[:, 1] if negative else None)


@dataclass(frozen=True)
class _Walk:
    """What a direction went through; P is 2 where negative pairs were read too, else 1.

    Attributes:
        frames: `[M, F]`, numbers that W read.
        read: `[M, P, units]`, states that U read, numbers.
        y: `[M, P, units]`, outputs, integers.
        final: `[N, P, units]`, the last states, integers, in the order of the packing.
        total: sums of states over time, likewise.
    """

    frames: Tensor
    read: Tensor
    y: Tensor
    final: Tensor
    total: Tensor


def _walk(direction: Direction, raw: Tensor, packing: Packing, others: Tensor | None) -> _Walk:
    """Go through all steps of raw frames `[M, F]`."""
    inputs, hidden = _fixed(direction.inputs), _fixed(direction.hidden)
    form, unit = hidden.formats, 2.0**-hidden.formats.standardised.one
    frames = standardised(raw, 0, inputs.formats, varying=True)
    driven = _driven(inputs, frames, others)
    scales: tuple[Tensor, Tensor, Tensor] | None = None
    states = total = driven.new_zeros(len(packing.order), *driven.shape[1:])
    parts = driven.split(packing.counts)
    read, y = list(parts), list(parts)
    steps = range(len(parts))
    for step in reversed(steps) if direction.backwards else steps:
        count = packing.counts[step]
        going = read[step] = states[:count] * unit
        u = hidden.mvm_on_grid(going.flatten(0, 1))
        scales = scales or pre_activation_scales(hidden, u)
        z = parts[step] + requantised(u, *scales, form).view_as(going)
        shift = form.pre_activation.one - form.output.one
        y[step] = requantise(torch.relu(z), shift, form.output, form.rounding)
        found = tensors.standardise(y[step].flatten(0, 1), form.standardised, form.rounding, varying=True)
        found = found.view_as(going)
        states, total = torch.cat((found, states[count:])), torch.cat((total[:count] + found, total[count:]))
    return _Walk(frames, torch.cat(read), torch.cat(y), states, total)


def _driven(inputs: FixedArray, frames: Tensor, others: Tensor | None) -> Tensor:
    """What drives each step but the state: frames through W, and the bias of W; integers `[M, P, units]`, float32."""
    u = inputs.mvm_on_grid(frames)
    scale, bias, shift = pre_activation_scales(inputs, u)
    v = requantised(u, scale, torch.zeros_like(bias), shift, inputs.formats)
    b = requantised(torch.zeros_like(bias), scale, bias, shift, inputs.formats)
    positive = 2 * v + b
    if others is None:
        return positive.unsqueeze(1)
    silence = torch.cat((v, v.new_zeros(1, v.shape[1])))
    return torch.stack((positive, silence.index_select(0, others).add_(v).add_(b)), dim=1)


def _fixed(array: object) -> FixedArray:
    assert isinstance(array, FixedArray), "a fixed-point layer was asked for around another backend's array"
    return array
