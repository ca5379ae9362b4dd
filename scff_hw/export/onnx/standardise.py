"""Step 2 of the fixed-point specification in float32: a sample's standardisation, equal to the reference's integers.

The sums of a sample have up to 62 bits in the reference; here they are `exact.Digits`, a few per sample. The values
themselves stay below 2^24.
"""

from __future__ import annotations

import numpy as np

from scff_hw.backends.fixed.formats.formats import QFormat, Rounding
from scff_hw.backends.fixed.reference.layer import MEAN_GUARD_BITS, RECIPROCAL_BITS
from scff_hw.export.onnx.exact import (
    BASE,
    DIGIT_BITS,
    Digits,
    difference,
    digits,
    divided_wide,
    f32,
    greater,
    joined,
    linear,
    normalised,
    products,
    scaled,
    scattered,
    split,
    times,
)
from scff_hw.export.onnx.graph import Graph, Value, flat

TOP = 127
"""Largest magnitude of the values that are standardised."""

VARIATION_DIGITS, SCALED_DIGITS = 5, 6
"""Digits of V, below 2^46, and of V 4^e, below 2^62."""

SQUARE_BITS = 7
"""Low bits that are split off squares before they are summed."""

ROOT_BITS = 16
FACTOR_BITS = 8
"""Low bits that are split off the reciprocal: the bits that a product then loses only decide whether it is a half."""

MOST_FRACTION = 9
"""Largest number of fraction bits of a format; a format with more cannot represent unit deviation."""


def standardised(graph: Graph, x: Value, form: QFormat, rounding: Rounding) -> Value:
    """Standardise 8-bit integers to integers of `form`, both in float32."""
    frac = form.frac_bits
    assert frac <= MOST_FRACTION, f"standardised numbers with {frac} fraction bits are not exact in float32"
    n = x.size
    d = n * max(n - 1, 1)
    values = flat(graph, x).name
    axis = np.array([1], np.int64)
    s1 = graph.op("ReduceSum", values, axis, keepdims=1)
    high, low = split(graph, graph.op("Mul", values, values), SQUARE_BITS)
    squares = [graph.op("ReduceSum", part, axis, keepdims=1) for part in (low, high)]
    v = _variation(graph, s1, squares, n)
    exponents, chosen = _exponents(graph, v, n, d)
    q = _scaled(graph, v, chosen, exponents)
    r = _reciprocal(graph, _root(graph, q, d))
    mean = divided_wide(graph, s1, None, MEAN_GUARD_BITS, n, (TOP * n, 0, n))
    # if all values are equal they equal their mean, and r does not matter
    centred = graph.op("Sub", graph.op("Mul", values, f32(1 << MEAN_GUARD_BITS)), mean)
    coarse, fine = split(graph, r, FACTOR_BITS)
    carried, rest = split(graph, graph.op("Mul", centred, fine), FACTOR_BITS)
    product = graph.op("Add", graph.op("Mul", centred, coarse), carried)
    product = graph.op("Add", product, graph.op("Min", rest, f32(0.5)))
    shifts = RECIPROCAL_BITS + MEAN_GUARD_BITS - form.frac_bits - exponents - FACTOR_BITS
    factor = graph.op("MatMul", chosen, f32(np.exp2(-shifts.astype(np.float64)))[:, None])
    result = scaled(graph, product, factor, form, rounding)
    if len(x.shape) > 1:
        result = graph.op("Reshape", result, np.array([-1, *x.shape], np.int64))
    return Value(result, x.shape)


def _variation(graph: Graph, s1: str, squares: list[str], n: int) -> Digits:
    """Return V = n s2 - s1^2, from the sums of the lower and upper parts of squares."""
    root = digits(graph, graph.op("Abs", s1), TOP * n)
    low, high = (digits(graph, part, ((1 << SQUARE_BITS) - 1) * n) for part in squares)
    length, count = VARIATION_DIGITS, len(root.low)
    matrix = np.concatenate(
        [
            times(n, len(low.low), length),
            times(n << SQUARE_BITS, len(high.low), length),
            -scattered(count, count, length, lambda i, j: (i + j, 1)),
        ]
    )
    v = normalised(graph, linear(graph, joined(graph, low, high, products(graph, root, root)), matrix))
    return Digits(v.name, np.zeros(length, np.int64), np.full(length, BASE - 1))


def _exponents(graph: Graph, v: Digits, n: int, d: int) -> tuple[np.ndarray, str]:
    """Return the possible values of e, `[E]`, and the one-hot choice per sample, `[N, E]`."""
    bits = RECIPROCAL_BITS + d.bit_length()
    max_bits = ((TOP * n) ** 2).bit_length()
    exponents = np.arange((bits - max_bits) >> 1, ((bits - 1) >> 1) + 1)
    # the highest digit that is not 0, times its power, has as many bits as the number
    weights = np.exp2(DIGIT_BITS * np.arange(len(v.low)))[None]
    highest = graph.op("ReduceMax", graph.op("Mul", v.name, f32(weights)), axes=[1], keepdims=1)
    ends = np.exp2(bits - 2.0 * np.append(exponents, exponents[-1] + 1))[None]
    # e is largest where V is 1 or 0
    ends[0, -1] = 0
    within = [greater(graph, f32(end), highest) for end in (ends[:, :-1], ends[:, 1:])]
    return exponents, graph.op("Sub", *within)


def _scaled(graph: Graph, v: Digits, chosen: str, exponents: np.ndarray) -> Digits:
    """Return V 4^e, for the chosen e."""
    count = len(exponents)
    choices = Digits(chosen, np.zeros(count, np.int64), np.ones(count, np.int64))
    digit_shifts, bits = np.divmod(2 * exponents, DIGIT_BITS)
    matrix = scattered(
        count, len(v.low), SCALED_DIGITS, lambda i, j: (j + int(digit_shifts[i]), 1 << int(bits[i]))
    )
    pairs = products(graph, choices, v)
    # exactly one exponent is chosen
    high = np.full(SCALED_DIGITS, (BASE - 1) << int(bits.max()))
    return Digits(graph.op("MatMul", pairs.name, f32(matrix)), np.zeros_like(high), high)


def _root(graph: Graph, q: Digits, d: int) -> str:
    """Return `isqrt(floor(q / d))`, at least 1: the largest t with t^2 d <= q."""
    weights = np.exp2(DIGIT_BITS * np.arange(len(q.low)))[None] / d
    quotient = graph.op("ReduceSum", graph.op("Mul", q.name, f32(weights)), np.array([1], np.int64), keepdims=1)
    # the root, or one more
    near = graph.op("Floor", graph.op("Add", graph.op("Sqrt", quotient), f32(0.5)))
    digit = digits(graph, near, (1 << ROOT_BITS) - 1)
    square = scattered(len(digit.low), len(digit.low), 3, lambda i, j: (i + j, 1))
    squared = normalised(graph, linear(graph, products(graph, digit, digit), square))
    squared = Digits(squared.name, np.zeros(3, np.int64), np.full(3, BASE - 1))
    left = normalised(graph, difference(graph, q, linear(graph, squared, times(d, 3, len(q.low)))))
    ends = (np.array([index], np.int64) for index in (len(q.low) - 1, len(q.low), 1))
    above = greater(graph, f32(0), graph.op("Slice", left.name, *ends))
    return graph.op("Max", graph.op("Sub", near, above), f32(1))


def _reciprocal(graph: Graph, root: str) -> str:
    """Return `floor(2^30 / root)`."""
    near = graph.op("Floor", graph.op("Add", graph.op("Div", f32(1 << RECIPROCAL_BITS), root), f32(0.5)))
    high, low = split(graph, near, FACTOR_BITS)
    left = graph.op("Sub", f32(1 << RECIPROCAL_BITS - FACTOR_BITS), graph.op("Mul", root, high))
    above = greater(graph, graph.op("Mul", root, low), graph.op("Mul", left, f32(1 << FACTOR_BITS)))
    return graph.op("Sub", near, above)
