"""Exact integers in float32: rounding shifts, divisions, and numbers of up to 66 bits in digits of 11 bits.

Many runtimes compute in float32 whatever a graph specifies: they narrow float64 and int64 to 32 bits, and multiply
int32 as float32. Integers below 2^24 are exact in float32, in sums of any order, so all values here stay below 2^24;
this is asserted while a graph is built. Quotients and roots, which runtimes round differently, are corrected by their
remainders. ONNX's Round is not used: some runtimes round halves away from zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scff_hw.backends.fixed.formats.formats import QFormat, Rounding
from scff_hw.export.onnx.dependencies import TensorProto
from scff_hw.export.onnx.graph import Graph

EXACT = 1 << 24
"""Integers up to this are exact in float32."""

DIGIT_BITS = 11
"""Bits per digit: a sum of four products of digits is exact."""

BASE = 1 << DIGIT_BITS

Bounds = NDArray[np.int64]


def f32(value: object) -> NDArray[np.float32]:
    """Return a float32 constant."""
    return np.asarray(value, dtype=np.float32)


def greater(graph: Graph, a: str | NDArray[np.float32], b: str | NDArray[np.float32]) -> str:
    """Return 1 where a > b, else 0, float32. ONNX's Less is not used: MNN 3.6 computes it wrongly below -0.5."""
    return graph.op("Cast", graph.op("Greater", a, b), to=TensorProto.FLOAT)


def floor_of(graph: Graph, x: str, factor: NDArray[np.float32] | float) -> str:
    """Return `floor(x * factor)`; exact if the factor is a power of two."""
    return graph.op("Floor", graph.op("Mul", x, f32(factor)))


def split(graph: Graph, x: str, bits: int) -> tuple[str, str]:
    """Return `floor(x / 2^bits)` of integers, and the remainder, from 0 to `2^bits - 1`."""
    high = floor_of(graph, x, 2.0**-bits)
    return high, graph.op("Sub", x, graph.op("Mul", high, f32(2**bits)))


def rounded(graph: Graph, x: str, rounding: Rounding) -> str:
    """Return the nearest integers to `x`, which is below 2^23; halves to even or up."""
    if rounding == "half_up":
        return graph.op("Ceil", graph.op("Mul", floor_of(graph, x, 2), f32(0.5)))
    # the nearest even integer is at most 1 away, and is the result at a tie
    half = graph.op("Add", graph.op("Mul", x, f32(0.5)), f32(0.5))
    even = graph.op("Mul", graph.op("Floor", half), f32(2))
    beyond = graph.op("Sub", x, even)
    above, below = greater(graph, beyond, f32(0.5)), greater(graph, f32(-0.5), beyond)
    return graph.op("Add", even, graph.op("Sub", above, below))


def saturated(graph: Graph, x: str, top: int) -> str:
    """Return `x` clipped to -top..top."""
    return graph.op("Clip", x, f32(-top), f32(top))


def scaled(graph: Graph, x: str, factor: str | NDArray[np.float32], form: QFormat, rounding: Rounding) -> str:
    """Return `x * factor`, saturated and rounded; `factor` is one or several powers of two."""
    return rounded(graph, saturated(graph, graph.op("Mul", x, factor), form.top), rounding)


def requantised(graph: Graph, x: str, shift: int | NDArray[np.int64], form: QFormat, rounding: Rounding) -> str:
    """Return the integers in another format: a rounding shift, saturated; `shift` is one number, or one per channel."""
    return scaled(graph, x, f32(np.exp2(-np.asarray(shift, dtype=np.float64))), form, rounding)


def divided(graph: Graph, x: str, n: str | int | NDArray[np.int64], largest: int) -> str:
    """Return `floor((2 x + n) / (2 n))` of integers.

    Args:
        n: a value of the graph, or constants.
        largest: upper bound of `|x| + n`.
    """
    assert largest < EXACT, f"a dividend of up to {largest} is not exact in float32"
    if isinstance(n, str):
        quotient, divisor, half = graph.op("Div", x, n), n, graph.op("Mul", n, f32(0.5))
    else:
        quotient, divisor, half = graph.op("Mul", x, f32(1 / np.asarray(n))), f32(n), f32(np.asarray(n) / 2)
    # the result, or one less
    near = graph.op("Floor", graph.op("Add", quotient, f32(0.25)))
    left = graph.op("Sub", x, graph.op("Mul", near, divisor))
    correction = graph.op("Cast", graph.op("GreaterOrEqual", left, half), to=TensorProto.FLOAT)
    return graph.op("Add", near, correction)


def divided_wide(
    graph: Graph, high: str, low: str | None, bits: int, n: str | int, largest: tuple[int, int, int]
) -> str:
    """Return `divided` of `high * 2^bits + low`.

    Args:
        low: None for 0.
        largest: upper bounds of `|high|`, `|low|` and `n`.
    """
    top, bottom, most = largest
    assert top + most < EXACT, f"a dividend of up to {top} is not exact in float32"
    quotient = graph.op("Div", high, n) if isinstance(n, str) else graph.op("Mul", high, f32(1 / n))
    near = graph.op("Floor", graph.op("Add", quotient, f32(0.5)))
    left = graph.op("Sub", high, graph.op("Mul", near, n if isinstance(n, str) else f32(n)))
    rest = graph.op("Mul", left, f32(2**bits))
    if low is not None:
        rest = graph.op("Add", rest, low)
    low_quotient = divided(graph, rest, n, (most << bits) + bottom + most)
    return graph.op("Add", graph.op("Mul", near, f32(2**bits)), low_quotient)


@dataclass(frozen=True)
class Digits:
    """Integers as digits `[N, L]` of base 2^11, the least significant first; a digit may be negative or above the base.

    Attributes:
        low, high: bounds of each digit, `[L]`.
    """

    name: str
    low: Bounds
    high: Bounds

    def __post_init__(self) -> None:
        assert max(-self.low.min(), self.high.max()) < EXACT, "a digit is not exact in float32"

    @property
    def largest(self) -> Bounds:
        return np.maximum(-self.low, self.high)


def digits_of(value: int, length: int) -> Bounds:
    """Return the digits of a constant `>= 0`."""
    assert value >> DIGIT_BITS * length == 0, f"{value} has more than {length} digits"
    return np.array([value >> DIGIT_BITS * k & BASE - 1 for k in range(length)], dtype=np.int64)


def times(value: int, rows: int, length: int) -> NDArray[np.int64]:
    """Return the matrix `[rows, length]` that multiplies digits by a constant."""
    digits = digits_of(value, length)
    return np.stack([np.concatenate([np.zeros(k, np.int64), digits])[:length] for k in range(rows)])


def linear(graph: Graph, x: Digits, matrix: NDArray[np.int64]) -> Digits:
    """Return the digits times an integer matrix `[L, K]`."""
    assert (x.largest @ np.abs(matrix)).max() < EXACT, "a sum of digits is not exact in float32"
    up, down = np.maximum(matrix, 0), np.minimum(matrix, 0)
    return Digits(graph.op("MatMul", x.name, f32(matrix)), x.low @ up + x.high @ down, x.high @ up + x.low @ down)


def difference(graph: Graph, a: Digits, b: Digits) -> Digits:
    """Return `a - b`, digit by digit."""
    return Digits(graph.op("Sub", a.name, b.name), a.low - b.high, a.high - b.low)


def normalised(graph: Graph, x: Digits) -> Digits:
    """Return the same number with all digits from 0 to the base, except the last, which has the rest and the sign."""
    length = len(x.low)
    carries = np.eye(length, k=1) - BASE * np.eye(length)
    carries[-1] = 0
    name, low, high = x.name, x.low, x.high
    # each carry normalises one more digit, for all numbers
    for _ in range(length - 1):
        name = graph.op("Add", name, graph.op("MatMul", floor_of(graph, name, 1 / BASE), f32(carries)))
        low_carry, high_carry = (np.concatenate([[0], (bound >> DIGIT_BITS)[:-1]]) for bound in (low, high))
        within = np.arange(length) < length - 1
        low = np.where(within, 0, low) + low_carry
        high = np.where(within, BASE - 1, high) + high_carry
        assert max(-low.min(), high.max()) < EXACT, "a carried digit is not exact in float32"
    within = np.arange(length) < length - 1
    return Digits(name, np.where(within, 0, low), np.where(within, BASE - 1, high))


def digits(graph: Graph, x: str, largest: int) -> Digits:
    """Return the digits of integers `[N, 1]` from 0 to `largest`."""
    assert largest < EXACT, f"a number of up to {largest} is not exact in float32"
    length = max(-(-largest.bit_length() // DIGIT_BITS), 1)
    powers = np.exp2(-DIGIT_BITS * np.arange(length + 1))
    quotients, higher = floor_of(graph, x, powers[None, :-1]), floor_of(graph, x, powers[None, 1:])
    name = graph.op("Sub", quotients, graph.op("Mul", higher, f32(BASE)))
    high = np.full(length, BASE - 1)
    high[-1] = largest >> DIGIT_BITS * (length - 1)
    return Digits(name, np.zeros(length, np.int64), high)


def joined(graph: Graph, *parts: Digits) -> Digits:
    """Return the digits concatenated along their axis."""
    name = graph.op("Concat", *(part.name for part in parts), axis=1)
    return Digits(name, np.concatenate([part.low for part in parts]), np.concatenate([part.high for part in parts]))


def products(graph: Graph, a: Digits, b: Digits) -> Digits:
    """Return each digit of a times each digit of b, `[N, La * Lb]`; both are not negative."""
    rows = graph.op("Unsqueeze", a.name, np.array([2], np.int64))
    columns = graph.op("Unsqueeze", b.name, np.array([1], np.int64))
    high = np.outer(a.high, b.high).ravel()
    name = graph.op("Reshape", graph.op("Mul", rows, columns), np.array([-1, len(high)], np.int64))
    return Digits(name, np.zeros_like(high), high)


def scattered(la: int, lb: int, length: int, entry: Callable[[int, int], tuple[int, int]]) -> NDArray[np.int64]:
    """Return the matrix `[la * lb, length]` that sums products of digits.

    Args:
        entry: for the product of digits i and j, its digit in the sum and its factor; a digit past `length` is dropped.
    """
    matrix = np.zeros((la, lb, length), np.int64)
    for i in range(la):
        for j in range(lb):
            digit, factor = entry(i, j)
            if digit < length:
                matrix[i, j, digit] = factor
    return matrix.reshape(-1, length)
