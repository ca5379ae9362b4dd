"""Integer arithmetic of fixed-point SCFF, in NumPy's int64: the primitives of the reference.

Shifts are arithmetic, divisions round down unless a docstring says otherwise. C needs no other primitives.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scff_hw.backends.fixed.formats.formats import Rounding
from scff_hw.core.xorshift import DRAW_BITS
from scff_hw.core.xorshift import draws as draws
from scff_hw.core.xorshift import first_states as first_states
from scff_hw.core.xorshift import xorshift32 as xorshift32
from scff_hw.errors import WidthError

Ints = NDArray[np.int64]

TABLE_STEPS_PER_UNIT_LOG2 = 5
TABLE_REACH_LOG2 = 3
"""The logistic table covers -8 to 8 in steps of 1/32; arguments outside use its ends."""

COEFFICIENT_BITS = 15
"""Fraction bits of the logistic function, and of the coefficients computed from it."""

MAX_RATE_SHIFT = 40
"""Shift of the lowest learning rate, 2^-40; a rate does not decay below it."""

def checked(x: Ints, bits: int, what: str) -> Ints:
    """Return `x` unchanged; check that its values fit `bits` bits.

    Raises:
        WidthError: a value needs more than `bits` bits, sign included.
    """
    top = (1 << (bits - 1)) - 1
    largest = int(np.abs(x).max(initial=0))
    if largest > top:
        raise WidthError(f"The {what} reached {largest}, beyond the {top} of its declared {bits} bits.")
    return x


def matmul(a: Ints, b: Ints) -> Ints:
    """Return `a @ b` exactly: in float64, many times faster than int64, if no sum can exceed 53 bits; else in int64."""
    largest = int(np.abs(a).max(initial=0)) * int(np.abs(b).max(initial=0)) * a.shape[-1]
    if largest >= 1 << 53:
        return a @ b
    return (a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64)


def shift_right(x: Ints, shift: Any, rounding: Rounding) -> Ints:
    """Return `x * 2^-shift`, rounded to the nearest integer; halves to even or up. A negative shift is to the left.

    Args:
        shift: an integer, or integers that broadcast against `x`.
    """
    shift = np.asarray(shift, dtype=np.int64)
    s = np.maximum(shift, 0)
    half = np.where(s > 0, np.left_shift(1, np.maximum(s - 1, 0)), 0)
    if rounding == "half_even":
        half = np.where(s > 0, half - 1 + ((x >> s) & 1), 0)
    return np.left_shift((x + half) >> s, np.maximum(-shift, 0))


def saturate(x: Ints, bits: int) -> Ints:
    """Return `x` clipped to the symmetric range of `bits` bits."""
    top = (1 << (bits - 1)) - 1
    return np.clip(x, -top, top)


def divide(x: Ints, n: Any) -> Ints:
    """Return `x / n` for `n > 0`, rounded to the nearest integer, halves up."""
    return (2 * x + n) // (2 * np.asarray(n, dtype=np.int64))


def isqrt(x: Ints) -> Ints:
    """Return the square root of `x >= 0`, rounded down."""
    root = np.sqrt(x.astype(np.float64)).astype(np.int64)
    root -= root * root > x
    return root + ((root + 1) * (root + 1) <= x)


def bit_length(x: Ints) -> Ints:
    """Return the number of bits of `0 <= x < 2^53`; 0 for 0."""
    return np.frexp(x.astype(np.float64))[1].astype(np.int64)


@cache
def logistic_table() -> Ints:
    """Return `1 / (1 + exp(-t))` for t from -8 in steps of 1/32, with 15 fraction bits."""
    steps = 1 << TABLE_STEPS_PER_UNIT_LOG2
    t = np.arange(-(steps << TABLE_REACH_LOG2), steps << TABLE_REACH_LOG2) / steps
    return np.rint((1 << COEFFICIENT_BITS) / (1 + np.exp(-t))).astype(np.int64)


def logistic(t: Ints) -> Ints:
    """Return table entries, with 15 fraction bits, for arguments with 5 fraction bits."""
    table = logistic_table()
    reach = len(table) // 2
    return table[np.clip(t, -reach, reach - 1) + reach]


def reciprocal(n: int) -> tuple[int, int]:
    """Return `(m, s)` with `m * 2^-s` close to `1 / n`, and m of 15 bits."""
    s = 14 + (n - 1).bit_length()
    return min(round((1 << s) / n), (1 << 15) - 1), s


def rate_shift(rate: float) -> int:
    """Return the shift whose `2^-shift` is the power of two nearest to `rate`; at most `MAX_RATE_SHIFT`."""
    return round(-math.log2(max(rate, 2.0**-MAX_RATE_SHIFT)))


def split(value: float) -> tuple[int, int]:
    """Return `(m, s)` with `m * 2^-(15 + s)` close to `value > 0`, and m of 15 or 16 bits."""
    mantissa, exponent = math.frexp(value)
    return round(mantissa * (1 << COEFFICIENT_BITS)), -exponent


def stochastic_shift(x: Ints, shift: Any, drawn: Ints) -> Ints:
    """Return `x * 2^-shift`, rounded up with probability equal to the fraction. A negative shift is to the left.

    `drawn` has 16 random bits per value. Exact up to a shift of 16; beyond, the probability is the nearest 16-bit
    fraction.
    """
    shift = np.asarray(shift, dtype=np.int64)
    s = np.maximum(shift, 0)
    beyond = np.maximum(s - DRAW_BITS, 0)
    dither = (drawn >> np.maximum(DRAW_BITS - s, 0)) << beyond
    dither = dither + np.where(beyond > 0, np.left_shift(1, np.maximum(beyond - 1, 0)), 0)
    return np.left_shift((x + dither) >> s, np.maximum(-shift, 0))
