"""The integer reference: fixed-point SCFF in NumPy, the specification, which other implementations match bit for bit.

It follows `README.md` of the fixed backend and favours clarity over speed. Every value is an int64 integer, and
every sum is checked against the width its format declares. Tensors are `[R, n]` (dense) or `[R, C, H, W]`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from scff_hw.backends.fixed.formats.formats import BIAS_GUARD_BITS, LayerFormats, QFormat, Rounding
from scff_hw.backends.fixed.reference.arithmetic import (
    COEFFICIENT_BITS,
    DRAW_BITS,
    TABLE_STEPS_PER_UNIT_LOG2,
    Ints,
    bit_length,
    checked,
    divide,
    draws,
    first_states,
    isqrt,
    logistic,
    matmul,
    reciprocal,
    saturate,
    shift_right,
    split,
    stochastic_shift,
)
from scff_hw.core.shapes import PoolGeometry, pool_length
from scff_hw.errors import WidthError

MEAN_GUARD_BITS = 6
"""Fraction bits of a sample's mean in addition to those of the sample."""

RECIPROCAL_BITS = 30

HALF_BITS = 7
VARYING_WEIGHT = 181
"""Weight of the other half of a pair with one constant half: sqrt(2) with 7 fraction bits. The two weights sum to 2."""


class PoolShape(PoolGeometry, Protocol):
    """Max or average pooling over `[N, C, H, W]`; see `scff_hw.core.functional.Pool`."""

    @property
    def kind(self) -> str: ...


@dataclass(frozen=True)
class LayerSpec:
    """Formats and parameters of a layer.

    Attributes:
        kernel: side of the kernel, in positions; None for a dense layer.
        makes_pairs: True if pairs are formed at this layer's input, False if it takes two streams.
        padding: reflection padding, in positions.
        transmit: "triangle" or "relu".
        positions: number of positions per sample that a batch learns from, at most all; None for all.
    """

    formats: LayerFormats
    kernel: int | None
    makes_pairs: bool
    theta_pos: float
    theta_neg: float
    penalty: float
    padding: int = 0
    transmit: str = "triangle"
    pool: PoolShape | None = None
    readout_pool: PoolShape | None = None
    positions: int | None = None


def quantise(x: NDArray[np.float64], form: QFormat) -> Ints:
    """Quantise real numbers to integers of a format, halves to even, saturating: used for input data."""
    scale = np.exp2(np.asarray(form.fracs, dtype=np.float64)).reshape(-1, *(1,) * (x.ndim - 1))
    return saturate(np.rint(x * scale).astype(np.int64), form.bits)


def requantise(x: Ints, shift: Ints | int, bits: int, rounding: Rounding) -> Ints:
    """Convert integers to another format: a rounding right shift, then saturation."""
    return saturate(shift_right(x, shift, rounding), bits)


def standardise(x: Ints, form: QFormat, rounding: Rounding) -> Ints:
    """Scale each sample of `[R, ...]` to zero mean and unit unbiased standard deviation, constant samples to zeros.

    With s1 and s2 the sums of a sample's n values and of their squares, V = n s2 - s1^2 is n (n - 1) times the
    variance. Scaled by 4^e to between 2^28 and 2^31, its root has 14 spare fraction bits. One division gives the
    root's reciprocal, by which all values are multiplied.
    """
    shape, x = x.shape, x.reshape(len(x), -1)
    n = x.shape[1]
    s1 = checked(x.sum(axis=1), 32, "sum of a sample")
    s2 = checked((x * x).sum(axis=1), 32, "sum of squares of a sample")
    v, d = n * s2 - s1 * s1, n * max(n - 1, 1)
    e = (RECIPROCAL_BITS + d.bit_length() - bit_length(v)) >> 1
    q = np.where(e >= 0, (v << np.maximum(2 * e, 0)) // d, 0)
    r = (1 << RECIPROCAL_BITS) // np.maximum(isqrt(q), 1)
    centred = (x << MEAN_GUARD_BITS) - divide(s1 << MEAN_GUARD_BITS, n)[:, None]
    product = checked(centred * np.where(v > 0, r, 0)[:, None], 32, "standardised input before its shift")
    shift = RECIPROCAL_BITS + MEAN_GUARD_BITS - form.frac_bits - e
    return requantise(product, shift[:, None], form.bits, rounding).reshape(shape)


def reflect(x: Ints, padding: int) -> Ints:
    """Pad height and width by reflection."""
    edges = (padding, padding)
    return np.pad(x, ((0, 0), (0, 0), edges, edges), mode="reflect") if padding else x


def fields(x: Ints, kernel: int | None) -> Ints:
    """Return the receptive fields `[R, P, fan_in]` of inputs, with values in the order of a weight row."""
    if kernel is None:
        return x[:, None, :]
    windows = sliding_window_view(x, (kernel, kernel), axis=(2, 3))
    return windows.transpose(0, 2, 3, 1, 4, 5).reshape(len(x), -1, x.shape[1] * kernel * kernel)


def pooled(x: Ints, pool: PoolShape | None) -> Ints:
    """Pool `[N, C, H, W]` as PyTorch does: an average counts padded zeros, but no positions beyond the padding."""
    if pool is None:
        return x
    lengths = [
        pool_length(length, size=pool.size, stride=pool.stride, padding=pool.padding, ceil=pool.ceil)
        for length in x.shape[2:]
    ]
    result = np.empty((*x.shape[:2], *lengths), dtype=np.int64)
    for i in range(lengths[0]):
        for j in range(lengths[1]):
            top, left = i * pool.stride - pool.padding, j * pool.stride - pool.padding
            window = x[:, :, max(top, 0) : top + pool.size, max(left, 0) : left + pool.size]
            if pool.kind == "max":
                result[:, :, i, j] = window.max(axis=(2, 3))
            else:
                height = min(top + pool.size, x.shape[2] + pool.padding) - top
                width = min(left + pool.size, x.shape[3] + pool.padding) - left
                result[:, :, i, j] = divide(window.sum(axis=(2, 3)), height * width)
    return result


def coefficients(s_pos: Ints, s_neg: Ints, spec: LayerSpec, units: int, shares: int) -> tuple[Ints, Ints]:
    """Return the gains of outputs (error = gain * output), from sums of squared outputs `[N, P]`; 15 fraction bits.

    A gain is `2 / (units * shares)` times a coefficient from equation 3 of the paper with its penalty (see
    `scff_hw.core.goodness.contrast`). The result includes the mantissa of that factor, not its power of two.

    Args:
        units: number of units in each sum of squares.
        shares: number of averaged errors: the N samples times the positions that a batch learns from.
    """
    m, s = reciprocal(units)
    shift = s + 2 * spec.formats.output.frac_bits - TABLE_STEPS_PER_UNIT_LOG2
    rounding = spec.formats.rounding
    g_pos, g_neg = (shift_right(sums * m, shift, rounding) for sums in (s_pos, s_neg))
    theta_pos, theta_neg = (round(t * (1 << TABLE_STEPS_PER_UNIT_LOG2)) for t in (spec.theta_pos, spec.theta_neg))
    pull, push = logistic(theta_pos - g_pos), logistic(g_neg - theta_neg)
    weight = round(spec.penalty * s_pos.shape[1] * (1 << COEFFICIENT_BITS))
    if s_pos.shape[1] * int(s_pos.max(initial=0)) ** 2 >= 1 << 63:
        raise WidthError(f"The squares of {s_pos.shape[1]} goodness sums of up to {s_pos.max()} exceed 64 bits.")
    norm = isqrt((s_pos * s_pos).sum(axis=1))[:, None]
    pull = pull - s_pos * weight // np.maximum(norm, 1)
    mantissa, _ = split(2 / (units * shares))
    pull, push = (requantise(c * mantissa, COEFFICIENT_BITS, 16, rounding) for c in (pull, push))
    return pull, push


def half_weights(x: Ints, partner: NDArray[np.int64], n: int) -> tuple[Ints, Ints]:
    """Return the weights of the first halves of positive and negative pairs, `[N]`, 7 fraction bits; usually 1.

    A pair's joint standard deviation is close to 1, but 1 / sqrt(2) if one half is constant. Then the weight of the
    other half, the only one that differs from the bias, is sqrt(2), and that of the constant half 2 - sqrt(2).

    Args:
        x: standardised rows, `[R, ...]`, one view of the N samples or two.
        partner: sample k is paired with `partner[k]`.
    """
    constant: NDArray[np.bool_] = np.all(x.reshape(len(x), -1) == 0, axis=1)
    first, last = constant[:n], constant[-n:]

    def weights(other: NDArray[np.bool_]) -> Ints:
        one, both = 1 << HALF_BITS, 2 << HALF_BITS
        return np.where(first == other, one, np.where(other, VARYING_WEIGHT, both - VARYING_WEIGHT))

    return weights(last), weights(last[partner])


def weighted_sum(a: Ints, b: Ints, weight: Ints, rounding: Rounding) -> Ints:
    """Return the pre-activations of pairs of `a` and `b`, `[N, P, C]`; `weight` `[N]` is that of the first halves."""
    w = weight[:, None, None]
    return shift_right(w * a + ((2 << HALF_BITS) - w) * b, HALF_BITS, rounding)


def shares(pull: Ints, weight: Ints, rounding: Rounding) -> tuple[Ints, Ints]:
    """Return the errors at the first and second halves of pairs, from `pull`, the errors `[N, P, C]` at the pairs."""
    w = weight[:, None, None]
    first, second = (shift_right(pull * each, HALF_BITS, rounding) for each in (w, (2 << HALF_BITS) - w))
    return first, second


class IntegerLayer:
    """A feed-forward layer with integer weights that learns.

    Attributes:
        weight: `[C, fan_in]`, int64, requantised from `stored`.
        stored: `[C, fan_in]`, int64: the shadow weights, or the weights if there is no shadow.
        bias: `[C]`, int64.
        states: states of the random generators, one per unit, uint32 `[C]`.
    """

    def __init__(self, weight: NDArray[np.float64], bias: NDArray[np.float64], spec: LayerSpec, seed: int = 0) -> None:
        form = spec.formats
        self.spec, self.shape = spec, weight.shape
        rows = weight.reshape(len(weight), -1).astype(np.float64)
        self.stored = quantise(rows, form.stored)
        self.bias = quantise(bias.astype(np.float64), form.bias)
        self.states = first_states(seed, len(rows))

    @property
    def weight(self) -> Ints:
        form = self.spec.formats
        if form.shadow is None:
            return self.stored
        return requantise(self.stored, form.shadow.bits - form.weight.bits, form.weight.bits, form.rounding)

    def start(self, seed: int) -> None:
        """Draw initial weights, uniform within `1 / sqrt(fan_in)`, and set biases to zero, as a device does.

        A 16-bit draw r gives the weight `(r - 2^15) / 2^15` times the bound; the new generator states are stored.
        """
        form, fan_in = self.spec.formats, self.stored.shape[1]
        m, s = split(1 / math.sqrt(fan_in))
        drawn, self.states = draws(first_states(seed, len(self.stored)), fan_in)
        shift = DRAW_BITS - 1 + COEFFICIENT_BITS + s - np.asarray(form.stored.fracs)
        values = shift_right((drawn - (1 << (DRAW_BITS - 1))) * m, shift[:, None], form.rounding)
        self.stored = saturate(values, form.stored.bits)
        self.bias = np.zeros_like(self.bias)

    def standardised(self, x: Ints) -> Ints:
        """Return the inputs of the MVM, from raw inputs."""
        form = self.spec.formats
        return standardise(reflect(x, self.spec.padding), form.standardised, form.rounding)

    def mvm(self, x: Ints) -> Ints:
        """Return `W x` of standardised inputs, `[R, P, C]`."""
        sums = matmul(fields(x, self.spec.kernel), self.weight.T)
        return checked(sums, self.spec.formats.accumulator.bits, "accumulator")

    def pre_activations(self, u: Ints) -> Ints:
        """Return the pre-activations per sample, bias included, `[R, P, C]`, from `mvm`'s result `u`."""
        form = self.spec.formats
        total = u + shift_right(self.bias, BIAS_GUARD_BITS, form.rounding)
        total = checked(total, form.accumulator.bits, "accumulator with its bias")
        shift = np.asarray(form.accumulator.fracs) - form.pre_activation.frac_bits
        return requantise(total, shift, form.pre_activation.bits, form.rounding)

    def outputs(self, z: Ints) -> Ints:
        """Return the requantised ReLU of pre-activations: the outputs from which goodness and errors are computed."""
        form = self.spec.formats
        shift = form.pre_activation.frac_bits - form.output.frac_bits
        return requantise(np.maximum(z, 0), shift, form.output.bits, form.rounding)

    def transmitted(self, z: Ints, side: tuple[int, ...]) -> Ints:
        """Return the input of the next layer, from pre-activations `[N, P, C]` over positions `side`."""
        form = self.spec.formats
        if self.spec.transmit == "triangle":
            z = z - divide(checked(z.sum(axis=2), 32, "sum over channels"), z.shape[2])[:, :, None]
        shift = form.pre_activation.frac_bits - form.transmitted.frac_bits
        y = requantise(np.maximum(z, 0), shift, form.transmitted.bits, form.rounding)
        if self.spec.kernel is None:
            return y[:, 0, :]
        return pooled(y.transpose(0, 2, 1).reshape(len(y), -1, *side), self.spec.pool)

    def forward(self, x: Ints) -> Ints:
        """Return the output for plain samples, each paired with itself if the layer makes its pairs."""
        v = self.pre_activations(self.mvm(self.standardised(x)))
        return self.transmitted(2 * v if self.spec.makes_pairs else v, self._side(x))

    def features(self, transmitted: Ints) -> Ints:
        """Return the readout features of the output, `[N, F]`."""
        form = self.spec.formats
        x = pooled(transmitted, self.spec.readout_pool)
        return standardise(x.reshape(len(x), -1), form.feature, form.rounding)

    def learn(
        self,
        views: Sequence[Ints],
        partner: NDArray[np.int64] | None,
        rate_shift: int,
        chosen: NDArray[np.bool_] | None = None,
    ) -> tuple[Ints, Ints]:
        """Update the weights once from a batch.

        Args:
            views: raw inputs `[N, ...]`: one or two views of the samples if this layer makes pairs, else the
                positive and the negative stream.
            partner: sample k is paired with `partner[k]`; None for passed pairs.
            rate_shift: the learning rate is `2^-rate_shift`.
            chosen: `[R, P]`, mask of the positions to learn from; None for all.
        Returns:
            Pre-update outputs of the positive and the negative pairs.
        """
        spec, form = self.spec, self.spec.formats
        n = len(views[0])
        x = self.standardised(np.concatenate(views))
        v = self.pre_activations(self.mvm(x))
        first, last = v[:n], v[-n:]
        if partner is None:
            z_pos, z_neg, weights = first, last, None
        else:
            weights = half_weights(x, partner, n)
            z_pos = weighted_sum(first, last, weights[0], form.rounding)
            z_neg = weighted_sum(first, last[partner], weights[1], form.rounding)
        y_pos, y_neg = self.outputs(z_pos), self.outputs(z_neg)
        s_pos, s_neg = (checked((y * y).sum(axis=2), 32, "sum of squared outputs") for y in (y_pos, y_neg))
        units, positions = v.shape[2], min(spec.positions or v.shape[1], v.shape[1])
        c_pos, c_neg = coefficients(s_pos, s_neg, spec, units, positions * n)
        pull, push = -y_pos * c_pos[:, :, None], y_neg * c_neg[:, :, None]
        if partner is None or weights is None:
            folded = np.concatenate([pull, push])
        else:
            pulls, pushes = (shares(e, w, form.rounding) for e, w in zip((pull, push), weights, strict=True))
            rows = pulls[0] + pushes[0], pulls[1] + pushes[1][np.argsort(partner)]
            folded = np.concatenate(rows) if len(views) == 2 else rows[0] + rows[1]
        folded = checked(folded, 32, "error before its shift")
        _, exponent = split(2 / (units * positions * n))
        shift = exponent + form.output.frac_bits + COEFFICIENT_BITS - form.error.frac_bits
        error = requantise(folded, shift, form.error.bits, form.rounding)
        if chosen is not None:
            error = error * chosen[:, :, None]
        self.update(x, error, rate_shift)
        side = self._side(views[0])
        return self.transmitted(z_pos, side), self.transmitted(z_neg, side)

    def update(self, x: Ints, error: Ints, rate_shift: int) -> None:
        """Update `W -= 2^-rate_shift * sum error x^T`, and the biases likewise.

        Args:
            x: standardised inputs.
            error: `[R, P, C]`.
        """
        rows = fields(x, self.spec.kernel).reshape(-1, self.stored.shape[1])
        errors = error.reshape(-1, len(self.stored))
        self.apply(matmul(errors.T, rows), errors.sum(axis=0), rate_shift)

    def apply(self, gradient: Ints, bias_gradient: Ints, rate_shift: int) -> None:
        """Update `W -= 2^-rate_shift * gradient`, and the biases likewise.

        Args:
            gradient: sums `error x^T`, `[C, fan_in]`.
            bias_gradient: sums of errors, `[C]`.
        """
        form = self.spec.formats
        checked(gradient, form.gradient.bits, "gradient's accumulator")
        checked(bias_gradient, form.gradient.bits, "bias gradient's accumulator")
        shift = (form.gradient.frac_bits + rate_shift - np.asarray(form.stored.fracs))[:, None]
        if form.stochastic:
            drawn, self.states = draws(self.states, self.stored.shape[1])
            change = stochastic_shift(gradient, shift, drawn)
        else:
            change = shift_right(gradient, shift, form.rounding)
        self.stored = saturate(self.stored - change, form.stored.bits)
        bias_shift = form.error.frac_bits + rate_shift - np.asarray(form.bias.fracs)
        self.bias = saturate(self.bias - shift_right(bias_gradient, bias_shift, form.rounding), form.bias.bits)

    def _side(self, x: Ints) -> tuple[int, ...]:
        if self.spec.kernel is None:
            return ()
        return tuple(length + 2 * self.spec.padding - self.spec.kernel + 1 for length in x.shape[2:])


def logits(features: Ints, weight: Ints, bias: Ints) -> Ints:
    """Return the readout's logits `[N, classes]`: int8 by int8 into int32; biases have the scale of the products."""
    return checked(matmul(features, weight.T) + bias, 32, "readout's accumulator")
