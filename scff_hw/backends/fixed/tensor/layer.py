"""A layer in fixed point: the reference's steps between two MVMs, on integers stored as floating point.

Streams between layers, inputs of `mvm` and errors for `update` are values on their formats' grids; the tensors in
between contain the integers themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scff_hw.backends.fixed.formats.formats import LayerFormats
from scff_hw.backends.fixed.reference.arithmetic import COEFFICIENT_BITS, split
from scff_hw.backends.fixed.reference.layer import LayerSpec
from scff_hw.backends.fixed.tensor import arithmetic as tensors
from scff_hw.backends.fixed.tensor.arithmetic import requantise, sum_of_squares
from scff_hw.backends.fixed.tensor.array import FixedArray
from scff_hw.core.compiling import compiled_if_large
from scff_hw.core.functional import Pool, reflect_pad
from scff_hw.core.layer import Telemetry
from scff_hw.core.pairs import Partners, Stream
from scff_hw.core.rules import SCFF


@dataclass(frozen=True)
class FixedLayer:
    """A feed-forward layer, dense or convolutional, in which all values are integers of declared widths.

    Attributes:
        rule: SCFF's thresholds and penalty; None for a layer that does not learn.
        update_positions: number of random positions per sample that a convolution learns from; None for all.
    """

    array: FixedArray
    rule: SCFF | None
    makes_pairs: bool
    padding: int = 0
    transmit: str = "triangle"
    pool: Pool | None = None
    readout_pool: Pool | None = None
    update_positions: int | None = None

    @property
    def arrays(self) -> dict[str, FixedArray]:
        """The layer's only array, with the key ""."""
        return {"": self.array}

    @property
    def spec(self) -> LayerSpec:
        """Parameters of this layer for the NumPy reference."""
        rule = self.rule or SCFF(0.0, 0.0)
        return LayerSpec(
            self.array.formats,
            self.array.geometry.window,
            self.makes_pairs,
            rule.theta_pos,
            rule.theta_neg,
            rule.penalty,
            self.padding,
            self.transmit,
            self.pool,
            self.readout_pool,
            self.update_positions,
        )

    def learn(
        self, stream: Stream, partners: Partners | None, generator: torch.Generator | None = None
    ) -> tuple[Telemetry, Callable[[bool], Stream]]:
        assert self.rule is not None, "learn() needs a layer with a rule"
        form, spec = self.array.formats, self.spec
        x, first, last = self._read(stream)
        n, units, positions = len(first), first.shape[1], first[0, 0].numel()
        own_partners = partners if self.makes_pairs else None
        forward, backward = (None, None) if own_partners is None else (own_partners.forward, own_partners.backward)
        halves = None if own_partners is None else tensors.half_weights(x, own_partners.forward, n)
        # pairs with a constant half are rare: compiling for them does not pay
        fused = compiled_if_large if halves is None else _uncompiled
        y_pos, y_neg, s_pos, s_neg, largest = fused(_outputs, first)(first, last, forward, halves, form)
        learned = min(self.update_positions or positions, positions)
        c_pos, c_neg = tensors.coefficients(s_pos.view(n, -1), s_neg.view(n, -1), spec, units, learned * n)
        _, exponent = split(2 / (units * learned * n))
        shift = exponent + form.output.frac_bits + COEFFICIENT_BITS - form.error.frac_bits
        error, bias_error = fused(_errors, first)(
            y_pos, y_neg, c_pos.view_as(s_pos), c_neg.view_as(s_neg), backward, len(x) // n, halves, shift, form
        )
        if learned < positions:
            assert generator is not None, "a layer that learns from random positions needs a generator"
            error = error * chosen_positions(error, learned, generator)
            bias_error = _sum_by_unit(error)
        self.array.update_on_grid(x, error, bias_error)
        report = telemetry(self.rule, form, s_pos, s_neg, largest)
        return report, lambda negative: self._output(first, last, forward, halves, negative)

    def forward(self, stream: Stream, partners: Partners | None = None) -> Stream:
        x, first, last = self._read(stream)
        negative = partners is not None or (not self.makes_pairs and stream.negative is not None)
        forward = partners.forward if self.makes_pairs and partners is not None else None
        halves = tensors.half_weights(x, forward, len(first)) if self.makes_pairs else None
        return self._output(first, last, forward, halves, negative)

    def features(self, output: Tensor) -> Tensor:
        form = self.array.formats
        x = output * 2.0**form.transmitted.frac_bits
        x = x if self.readout_pool is None else _pooled(x, self.readout_pool)
        return tensors.standardise(x.flatten(1), form.feature, form.rounding) * 2.0**-form.feature.frac_bits

    def _read(self, stream: Stream) -> tuple[Tensor, Tensor, Tensor]:
        """Return the array's input, views or streams concatenated, and the pre-activations of the first and the last.

        With one view or stream, the first is also the last.
        """
        second = stream.second_view if self.makes_pairs else stream.negative
        views = [stream.positive] if second is None else [stream.positive, second]
        if self.array.geometry.flattens:
            views = [view.flatten(1) for view in views]
        x = standardised(torch.cat(views), self.padding, self.array.formats)
        u = self.array.mvm_on_grid(x)
        v = compiled_if_large(requantised, u)(u, *pre_activation_scales(self.array, u), self.array.formats)
        n = len(stream.positive)
        return x, v[:n], v[-n:]

    def _output(
        self, first: Tensor, last: Tensor, forward: Tensor | None, halves: tensors.Halves | None, negative: bool
    ) -> Stream:
        form, pool = self.array.formats, self.pool
        w_pos, w_neg = halves or (None, None)
        pairs = [tensors.weighted_sum(first, last, w_pos, form.rounding) if self.makes_pairs else first]
        if negative:
            passed = forward is None
            pairs.append(last if passed else tensors.weighted_sum(first, last[forward], w_neg, form.rounding))
        outputs = []
        for z in pairs:
            y = compiled_if_large(_transmitted, z)(z, self.transmit, form)
            y = y if pool is None else _pooled(y, pool)
            outputs.append(y * 2.0**-form.transmitted.frac_bits)
        return Stream(outputs[0], outputs[1] if negative else None)


def telemetry(rule: SCFF, form: LayerFormats, s_pos: Tensor, s_neg: Tensor, largest: Tensor) -> Telemetry:
    """Return the telemetry (goodness, loss, dead units) that the float rule gives for these outputs.

    Args:
        s_pos, s_neg: `[N, ...]`, sums of squared outputs over the units, as integers.
        largest: `[C]`, the largest output of each unit; 0 for a dead unit.
    """
    units = len(largest)
    scale = 1 / (units * 4.0**form.output.frac_bits)
    positive, negative = ((s.float() * scale).view(len(s), -1) for s in (s_pos, s_neg))
    gains = rule.gains(positive, negative, units=units)
    dead = (largest == 0).float().mean()
    return Telemetry(gains.goodness_positive, gains.goodness_negative, gains.loss, dead)


def pre_activation_scales(array: FixedArray, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the arguments of `requantised` for `u` `[R, C, ...]`: the accumulator's scale, the bias, and the shift."""
    form = array.formats
    shape = (1, -1, *(1,) * (u.dim() - 2))
    scale = torch.tensor([2.0**frac for frac in form.accumulator.fracs])
    shift = torch.tensor([2.0 ** (form.pre_activation.frac_bits - frac) for frac in form.accumulator.fracs])
    return scale.view(shape).to(u), array.accumulator_bias.view(shape).to(u), shift.view(shape).to(u)


def chosen_positions(error: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return a mask `[R, 1, ...]` with 1 at `count` random positions per row; drawn as in `at_random_positions`."""
    rows, positions = len(error), error[0, 0].numel()
    chosen = torch.rand(rows, positions, generator=generator).topk(count, dim=1).indices
    return torch.zeros(rows, positions).scatter_(1, chosen, 1.0).view(rows, 1, *error.shape[2:])


def standardised(x: Tensor, padding: int, form: LayerFormats, *, varying: bool = False) -> Tensor:
    """Return the inputs of an array, values on their grid, from raw inputs; `varying` as in `tensors.standardise`."""
    raw = torch.round(x.float() * 2.0**form.input.frac_bits).clamp(-form.input.top, form.input.top)
    integers = tensors.standardise(reflect_pad(raw, padding), form.standardised, form.rounding, varying=varying)
    return integers * 2.0**-form.standardised.frac_bits


def requantised(u: Tensor, scale: Tensor, bias: Tensor, shift: Tensor, form: LayerFormats) -> Tensor:
    """Return the pre-activations from `u` = `W x` and a bias, integers in float32."""
    return requantise(u * scale + bias, shift, form.pre_activation, form.rounding).float()


def _uncompiled(function: Callable[..., Any], like: Tensor) -> Callable[..., Any]:
    return function


def _outputs(
    first: Tensor, last: Tensor, forward: Tensor | None, halves: tensors.Halves | None, form: LayerFormats
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return outputs of positive and negative pairs, their sums of squares per position, and the largest per unit."""
    z_pos, z_neg = first, last
    if forward is not None:
        w_pos, w_neg = halves or (None, None)
        z_pos = tensors.weighted_sum(first, last, w_pos, form.rounding)
        z_neg = tensors.weighted_sum(first, last[forward], w_neg, form.rounding)
    shift = form.pre_activation.frac_bits - form.output.frac_bits
    y_pos, y_neg = (requantise(torch.relu(z), shift, form.output, form.rounding) for z in (z_pos, z_neg))
    largest = torch.maximum(y_pos, y_neg).amax(dim=(0, *range(2, y_pos.dim())))
    return y_pos, y_neg, sum_of_squares(y_pos, form.output.top), sum_of_squares(y_neg, form.output.top), largest


def _errors(
    y_pos: Tensor,
    y_neg: Tensor,
    c_pos: Tensor,
    c_neg: Tensor,
    backward: Tensor | None,
    views: int,
    halves: tensors.Halves | None,
    shift: int,
    form: LayerFormats,
) -> tuple[Tensor, Tensor]:
    """Return the errors at the rows of the MVM, and their sums per unit `[C]`, both on the grid of `error`.

    Products and sums of four products are below 2^24; halves with weights other than 1 are in float64.
    """
    pull, push = -y_pos * c_pos.unsqueeze(1), y_neg * c_neg.unsqueeze(1)
    if backward is None:
        folded = torch.cat([pull, push])
    else:
        w_pos, w_neg = halves or (None, None)
        pulls, pushes = tensors.shares(pull, w_pos, form.rounding), tensors.shares(push, w_neg, form.rounding)
        rows = pulls[0] + pushes[0], pulls[1] + pushes[1][backward]
        folded = torch.cat(rows) if views == 2 else rows[0] + rows[1]
    error = requantise(folded, shift, form.error, form.rounding).float() * 2.0**-form.error.frac_bits
    return error, _sum_by_unit(error)


def _sum_by_unit(error: Tensor) -> Tensor:
    """Return the sums over rows and positions, `[C]`, in float64."""
    return error.sum(dim=(0, *range(2, error.dim())), dtype=torch.float64)


def _transmitted(z: Tensor, transmit: str, form: LayerFormats) -> Tensor:
    if transmit == "triangle":
        z = z - tensors.divide(z.sum(dim=1, keepdim=True, dtype=torch.float64), z.shape[1])
    shift = form.pre_activation.frac_bits - form.transmitted.frac_bits
    return requantise(torch.relu(z), shift, form.transmitted, form.rounding)


def _pooled(x: Tensor, pool: Pool) -> Tensor:
    """Pool integers; an average is divided by the size of its window, counted as in PyTorch."""
    if pool.kind == "max":
        return pool(x)
    options = {"padding": pool.padding, "ceil_mode": pool.ceil, "divisor_override": 1}
    sums = F.avg_pool2d(x, pool.size, pool.stride, **options)
    if pool.ceil or pool.padding:
        covered = F.pad(torch.ones_like(x[:1, :1]), (pool.padding,) * 4, value=1.0)
        sizes = F.avg_pool2d(covered, pool.size, pool.stride, ceil_mode=pool.ceil, divisor_override=1)
        return tensors.divide(sums, sizes[..., : sums.shape[-2], : sums.shape[-1]].to(torch.int64))
    return tensors.divide(sums, pool.size**2)
