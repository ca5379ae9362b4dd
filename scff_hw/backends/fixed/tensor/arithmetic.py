"""The reference's arithmetic on PyTorch tensors that store integers exactly as floating point.

float32 represents integers up to 2^24 and float64 up to 2^53, and a sum of integers is exact in any order if no partial
sum leaves that range; so matrix products run at full speed. Each function documents the range of its arguments.
"""

from __future__ import annotations

import torch
from torch import Tensor

from scff_hw.backends.fixed.formats.formats import QFormat, Rounding
from scff_hw.backends.fixed.reference.arithmetic import (
    COEFFICIENT_BITS,
    TABLE_STEPS_PER_UNIT_LOG2,
    logistic_table,
    reciprocal,
    split,
)
from scff_hw.backends.fixed.reference.layer import (
    HALF_BITS,
    MEAN_GUARD_BITS,
    RECIPROCAL_BITS,
    VARYING_WEIGHT,
    LayerSpec,
)
from scff_hw.core.compiling import compiled_if_large

Halves = tuple[Tensor, Tensor]
"""Weights of the first halves of the positive and the negative pairs, `[N]`, in steps of 2^-7."""

EXACT: dict[Rounding, int] = {"half_even": 1 << 24, "half_up": 1 << 23}
"""Sums below this bound are exact in float32, and so is their rounding: rounding half up adds one half."""


def scales(form: QFormat, dims: int, *, inverse: bool = False) -> Tensor:
    """Return `2^-frac` (or `2^frac`) per output channel, broadcastable to a tensor of `dims` dimensions; float64."""
    sign = 1 if inverse else -1
    return torch.tensor([2.0 ** (sign * frac) for frac in form.fracs], dtype=torch.float64).view(-1, *(1,) * (dims - 1))


def nearest(x: Tensor, rounding: Rounding) -> Tensor:
    """Round to the nearest integer, halves to even or up; `x` is a multiple of a power of two."""
    return torch.round(x) if rounding == "half_even" else torch.floor(x + 0.5)


def requantise(x: Tensor, shift: int | Tensor, form: QFormat, rounding: Rounding) -> Tensor:
    """Return the integers `x * 2^-shift`, rounded and saturated to `form`; a tensor `shift` contains `2^-shift`."""
    scale = shift if isinstance(shift, Tensor) else 2.0**-shift
    return nearest(x * scale, rounding).clamp(-form.top, form.top)


def standardise(x: Tensor, form: QFormat, rounding: Rounding, *, varying: bool = False) -> Tensor:
    """Scale each sample of 8-bit integers to zero mean and unit unbiased standard deviation; integers in float32.

    Args:
        varying: the number of samples differs between calls, so fusing would compile anew for each.
    """
    n = x[0].numel()
    flat = x.flatten(1)
    s1 = flat.sum(dim=1, dtype=torch.float64).to(torch.int64)
    s2 = flat.square().sum(dim=1, dtype=torch.float64).to(torch.int64)
    v, d = n * s2 - s1 * s1, n * max(n - 1, 1)
    bits = torch.frexp(v.double()).exponent.to(torch.int64)
    e = (RECIPROCAL_BITS + d.bit_length() - bits) >> 1
    q = torch.div(v << (2 * e).clamp_min(0), d, rounding_mode="floor")
    root = torch.sqrt(q.double()).floor().to(torch.int64).clamp_min(1)  # exact: q is below 2^31
    r = torch.div(1 << RECIPROCAL_BITS, root, rounding_mode="floor") * (v > 0)
    mean = torch.div((s1 << (MEAN_GUARD_BITS + 1)) + n, 2 * n, rounding_mode="floor")
    scale = torch.ldexp(r.double(), e + form.frac_bits - RECIPROCAL_BITS - MEAN_GUARD_BITS)
    scaled = _scaled if varying else compiled_if_large(_scaled, x)
    return scaled(flat, mean.float()[:, None], scale[:, None], form, rounding).view_as(x)


def _scaled(flat: Tensor, mean: Tensor, scale: Tensor, form: QFormat, rounding: Rounding) -> Tensor:
    """Centre, scale and requantise samples; in float64, for products of 31 bits."""
    centred = flat * (1 << MEAN_GUARD_BITS) - mean
    return requantise(centred.double(), scale, form, rounding).float()


def half_weights(x: Tensor, forward: Tensor | None, n: int) -> Halves | None:
    """Compute the reference's `half_weights` from the array's inputs `x`; return None if all weights are 1.

    Args:
        forward: sample k is paired with `forward[k]`; None without negative pairs.
    """
    constant = ~x.flatten(1).any(dim=1)
    if not constant.any():
        return None
    first, last = constant[:n], constant[-n:]
    one, both = 1 << HALF_BITS, 2 << HALF_BITS
    w_pos, w_neg = (
        torch.where(first == other, one, torch.where(other, VARYING_WEIGHT, both - VARYING_WEIGHT)).to(x.dtype)
        for other in (last, last if forward is None else last[forward])
    )
    return w_pos, w_neg


def weighted_sum(a: Tensor, b: Tensor, weight: Tensor | None, rounding: Rounding) -> Tensor:
    """Return pre-activations of pairs `[N, C, ...]`, as in the reference; exact in float32 (23 bits and a half)."""
    if weight is None:
        return a + b
    w = weight.view(-1, *(1,) * (a.dim() - 1))
    return nearest((w * a + ((2 << HALF_BITS) - w) * b) * 2.0**-HALF_BITS, rounding)


def shares(error: Tensor, weight: Tensor | None, rounding: Rounding) -> tuple[Tensor, Tensor]:
    """Compute the reference's `shares`; in float64 if weights differ from 1, for products of 30 bits."""
    if weight is None:
        return error, error
    w = weight.view(-1, *(1,) * (error.dim() - 1)).double()
    first, second = (nearest(error.double() * each * 2.0**-HALF_BITS, rounding) for each in (w, (2 << HALF_BITS) - w))
    return first, second


def divide(x: Tensor, n: int | Tensor) -> Tensor:
    """Return `x / n` for integers, rounded to the nearest, halves up; integers in float32."""
    return torch.div(2 * x.to(torch.int64) + n, 2 * n, rounding_mode="floor").float()


def sum_of_squares(y: Tensor, top: int) -> Tensor:
    """Return the sum of squares over the units (dimension 1) of integers of magnitude up to `top`."""
    exact = y.shape[1] * top * top < EXACT["half_even"]
    return y.square().sum(dim=1) if exact else y.square().sum(dim=1, dtype=torch.float64)


def coefficients(s_pos: Tensor, s_neg: Tensor, spec: LayerSpec, units: int, shares: int) -> tuple[Tensor, Tensor]:
    """Compute the reference's `coefficients` from integers `[N, P]`; integers in float32."""
    m, s = reciprocal(units)
    shift = s + 2 * spec.formats.output.frac_bits - TABLE_STEPS_PER_UNIT_LOG2
    rounding = spec.formats.rounding
    table = torch.from_numpy(logistic_table()).to(s_pos.device)
    steps, reach = 1 << TABLE_STEPS_PER_UNIT_LOG2, len(table) // 2
    g_pos, g_neg = (nearest(sums.double() * m * 2.0**-shift, rounding) for sums in (s_pos, s_neg))
    arguments = round(spec.theta_pos * steps) - g_pos, g_neg - round(spec.theta_neg * steps)
    pull, push = (table[(t.clamp(-reach, reach - 1) + reach).to(torch.int64)] for t in arguments)
    weight = round(spec.penalty * s_pos.shape[1] * (1 << COEFFICIENT_BITS))
    if weight:
        sums = s_pos.to(torch.int64)
        pull = pull - torch.div(
            sums * weight, isqrt(sums.square().sum(dim=1, keepdim=True)).clamp_min(1), rounding_mode="floor"
        )
    mantissa, _ = split(2 / (units * shares))
    narrow = QFormat(16, COEFFICIENT_BITS)
    pull, push = (requantise((c * mantissa).double(), COEFFICIENT_BITS, narrow, rounding).float() for c in (pull, push))
    return pull, push


def isqrt(x: Tensor) -> Tensor:
    """Return the square root of int64 `x >= 0`, rounded down."""
    root = x.double().sqrt().to(torch.int64)
    root = root - (root * root > x).to(torch.int64)
    return root + ((root + 1) * (root + 1) <= x)
