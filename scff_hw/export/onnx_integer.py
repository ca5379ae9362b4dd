"""The integer graph of a run in fixed point: the specification's integers, in operations that every runtime has.

`scff_hw/backends/fixed/README.md` is the specification, and `reference.py` beside it what this must equal. Integers
are held as

- int8 in the file (weights), cast where they are used;
- float32 in products of weights and activations, in sums that stay below 2^24 and are then exact in any order (a longer
  sum is split). ONNX's own integer products were not taken: ConvInteger knows no int8 in onnxruntime, and 8-bit
  products saturate there on some processors;
- int64 where there are divisions, of numbers made non-negative first, since ONNX rounds quotients towards zero;
- float64 in rounding shifts: a multiplication by a power of two, then Round, which takes halves to even.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scff_hw.backends.fixed.formats import BIAS_GUARD_BITS, LayerFormats, QFormat, Rounding
from scff_hw.backends.fixed.integer import Ints, shift_right
from scff_hw.backends.fixed.reference import (
    MEAN_GUARD_BITS,
    RECIPROCAL_BITS,
    IntegerLayer,
    PoolShape,
)
from scff_hw.core.functional import Pool
from scff_hw.export.onnx_graph import (
    FEATURES,
    INPUT,
    LOGITS,
    Graph,
    Value,
    Windows,
    flat,
    max_pooled,
    per_channel,
    reflected,
)
from scff_hw.export.onnx_parts import TensorProto, onnx

EXACT_SUM = 1 << 24
"""Sums of integers up to here are exact in float32."""

I64, F64 = np.int64, np.float64


@dataclass(frozen=True)
class IntegerReadout:
    """The readout's integers.

    Attributes:
        weight: `[classes, F]`, of 8 bits.
        bias: `[classes]`, at the products' scale.
        frac: fraction bits of the logits.
    """

    weight: Ints
    bias: Ints
    frac: int


def integer_model(
    stack: Sequence[IntegerLayer],
    layers: Sequence[int],
    readout: IntegerReadout,
    shape: Sequence[int],
    metadata: Mapping[str, str],
) -> onnx.ModelProto:
    """A network in the integers of the reference.

    Args:
        stack: the reference's layers, whose `forward`, `features` and `logits` the graph equals.
        layers: 0-based, those whose features the readout reads.
        shape: of one input sample.
    Returns:
        A model whose input is float32 as the float graph's; features (int8) and logits (int32) are integers.
    """
    graph = Graph()
    value, features = on_grid(graph, Value(INPUT, tuple(shape)), stack[0].spec.formats.input), []
    for index, layer in enumerate(stack[: max(layers) + 1]):
        value = integer_layer(graph, value, layer, f"layers.{index + 1}")
        if index in layers:
            features.append(integer_features(graph, value, layer))
    width = read_out(graph, features, readout, stack[0].spec.formats.feature.top)
    outputs = {FEATURES: (width, TensorProto.INT8), LOGITS: (len(readout.bias), TensorProto.INT32)}
    description = "SCFF network and linear readout in integers: equal to scff-hw's integer reference"
    return graph.model("scff_integer", shape, outputs, metadata, description)


def read_out(graph: Graph, features: Sequence[Value], readout: IntegerReadout, top: int) -> int:
    """Add the outputs: features, float64 up to `top`, side by side, and logits of them; how many features there are."""
    width = sum(each.size for each in features)
    names = [cast(graph, each.name, TensorProto.FLOAT) for each in features]
    read = Value(graph.op("Concat", *names, axis=1), (width,))
    graph.op("Cast", read.name, name=FEATURES, to=TensorProto.INT8)
    total = product(graph, read, readout.weight, None, top, "readout.weight")
    biased = graph.op("Add", total.name, graph.constant(readout.bias, F64, "readout.bias"))
    graph.op("Cast", biased, name=LOGITS, to=TensorProto.INT32)
    return width


def integer_features(graph: Graph, output: Value, layer: IntegerLayer) -> Value:
    """The readout's view of a layer's output, float64."""
    form = layer.spec.formats
    x = flat(graph, pooled(graph, output, layer.spec.readout_pool))
    return standardised(graph, x, form.feature, form.rounding)


def shifted(graph: Graph, x: str, factor: str | NDArray[np.float64], rounding: Rounding) -> str:
    """`x * factor` rounded, in float64; `factor` is a power of two, or several."""
    scaled = graph.op("Mul", x, factor)
    if rounding == "half_even":
        return graph.op("Round", scaled)
    return graph.op("Floor", graph.op("Add", scaled, np.array(0.5, F64)))


def saturated(graph: Graph, x: str, top: int) -> str:
    """Float64 integers within the symmetric range."""
    return graph.op("Clip", x, np.array(-top, F64), np.array(top, F64))


def requantised(graph: Graph, x: str, shift: int | NDArray[np.int64], form: QFormat, rounding: Rounding) -> str:
    """Float64 integers in another format: a rounding shift, of a channel each where there are several, saturated."""
    factor = np.exp2(-np.asarray(shift, dtype=F64))
    return saturated(graph, shifted(graph, x, factor, rounding), form.top)


def divided(graph: Graph, x: str, n: str | int | NDArray[np.int64], largest: int) -> str:
    """`floor((2 x + n) / (2 n))` of int64.

    Args:
        n: a value of the graph, int64, or constants.
        largest: bound of `|x / n|`, by which the dividend is kept from being negative.
    """
    two, lift = np.array(2, I64), np.array(largest + 1, I64)
    if isinstance(n, str):
        twice = graph.op("Mul", n, two)
        lifted = graph.op("Add", n, graph.op("Mul", twice, lift))
    else:
        twice = 2 * np.asarray(n, dtype=I64)
        lifted = np.asarray(n, dtype=I64) + twice * lift
    dividend = graph.op("Add", graph.op("Mul", x, two), lifted)
    return graph.op("Sub", graph.op("Div", dividend, twice), lift)


def standardised(graph: Graph, x: Value, form: QFormat, rounding: Rounding) -> Value:
    """Step 2 of the specification: float32 integers of 8 bits to float64 integers of `form`."""
    n = x.size
    d = n * max(n - 1, 1)
    values = cast(graph, x.name, TensorProto.INT64)
    axes = np.array(x.axes, dtype=I64)
    s1 = graph.op("ReduceSum", values, axes, keepdims=1)
    s2 = graph.op("ReduceSum", graph.op("Mul", values, values), axes, keepdims=1)
    v = graph.op("Sub", graph.op("Mul", s2, np.array(n, I64)), graph.op("Mul", s1, s1))
    bits = _bit_length(graph, v, x)
    e = graph.op("Div", graph.op("Sub", np.array(RECIPROCAL_BITS + d.bit_length(), I64), bits), np.array(2, I64))
    exponents = np.arange((RECIPROCAL_BITS + d.bit_length()) // 2 + 1)
    # V is 0 where 4^e would not fit
    fours = graph.op("Gather", (1 << np.minimum(2 * exponents, 62)).astype(I64), e)
    q = graph.op("Div", graph.op("Mul", v, fours), np.array(d, I64))
    root = graph.op("Max", _isqrt(graph, q), np.array(1, I64))
    r = graph.op("Div", np.array(1 << RECIPROCAL_BITS, I64), root)
    varied = cast(graph, graph.op("Greater", v, np.array(0, I64)), TensorProto.INT64)
    one = np.array(1 << MEAN_GUARD_BITS, I64)
    mean = divided(graph, graph.op("Mul", s1, one), n, 1 << (MEAN_GUARD_BITS + 7))
    centred = graph.op("Sub", graph.op("Mul", values, one), mean)
    products = cast(graph, graph.op("Mul", centred, graph.op("Mul", r, varied)), TensorProto.DOUBLE)
    shifts = RECIPROCAL_BITS + MEAN_GUARD_BITS - form.one - exponents
    factor = graph.op("Gather", np.exp2(-shifts.astype(F64)), e)
    return Value(saturated(graph, shifted(graph, products, factor, rounding), form.top), x.shape)


def product(graph: Graph, x: Value, weight: Ints, kernel: int | None, top: int, name: str) -> Value:
    """`W x` in float64: of float32 integers up to `top`, by as many float32 products as keep their sums exact.

    Args:
        weight: `[C, fan_in]`; rows of a convolution are `[channels, kernel, kernel]`.
    """
    channels = x.shape[0] if kernel is not None else weight.shape[1]
    by_channel = weight.reshape(len(weight), channels, -1)
    sums = np.abs(by_channel).sum(axis=2) * top
    parts, start = [], 0
    while start < channels:
        reach = np.cumsum(sums[:, start:], axis=1).max(axis=0)
        stop = start + max(int((reach < EXACT_SUM).sum()), 1)
        parts.append((start, stop))
        start = stop
    found = ""
    for start, stop in parts:
        part = by_channel[:, start:stop]
        held = graph.constant(
            part.reshape(len(part), -1) if kernel is None else part.reshape(len(part), -1, kernel, kernel),
            np.int8,
            name if len(parts) == 1 else f"{name}.{start}",
        )
        unit = cast(graph, held, TensorProto.FLOAT)
        values = x.name
        if len(parts) > 1:
            ends = (np.array([each], dtype=I64) for each in (start, stop, 1))
            values = graph.op("Slice", values, *ends)
        u = graph.op("Gemm", values, unit, transB=1) if kernel is None else graph.op("Conv", values, unit)
        u = cast(graph, u, TensorProto.DOUBLE)
        found = graph.op("Add", found, u) if found else u
    sides = () if kernel is None else (side - kernel + 1 for side in x.shape[1:])
    return Value(found, (len(weight), *sides))


def pooled(graph: Graph, x: Value, pool: PoolShape | None) -> Value:
    """Step 9's pooling of float32 integers."""
    if pool is None:
        return x
    shape = Pool("max" if pool.kind == "max" else "avg", pool.size, pool.stride, pool.padding, pool.ceil)
    if shape.kind == "max":
        return max_pooled(graph, x, shape)
    windows = Windows.of(shape, x.shape)
    # one map at a time: a sum is the same filter for every channel
    maps = graph.op("Reshape", x.name, np.array([-1, 1, *x.shape[1:]], dtype=I64))
    ones = np.ones((1, 1, shape.size, shape.size), np.float32)
    sums = graph.op("Conv", maps, ones, strides=[shape.stride] * 2, pads=windows.pads)
    means = divided(graph, cast(graph, sums, TensorProto.INT64), windows.counts, 1 << 7)
    back = graph.op("Reshape", means, np.array([-1, *windows.shape], dtype=I64))
    return Value(cast(graph, back, TensorProto.FLOAT), windows.shape)


def on_grid(graph: Graph, x: Value, form: QFormat) -> Value:
    """Step 1: data on the grid of `form`, float32 integers."""
    scaled = graph.op("Round", graph.op("Mul", x.name, np.array(2.0**form.one, np.float32)))
    return Value(graph.op("Clip", scaled, np.array(-form.top, np.float32), np.array(form.top, np.float32)), x.shape)


def integer_layer(graph: Graph, x: Value, layer: IntegerLayer, name: str) -> Value:
    """Steps 2, 3, 4 and 9 of one layer: float32 integers to float32 integers."""
    spec, form = layer.spec, layer.spec.formats
    if spec.kernel is None:
        x = flat(graph, x)
    read = standardised(graph, reflected(graph, x, spec.padding), form.standardised, form.rounding)
    read = Value(cast(graph, read.name, TensorProto.FLOAT), read.shape)
    u = product(graph, read, layer.weight, spec.kernel, form.standardised.top, f"{name}.weight")
    v = pre_activations(graph, u, layer.bias, form, name)
    z = graph.op("Mul", v, np.array(2, F64)) if spec.makes_pairs else v
    if spec.transmit == "triangle":
        total = graph.op("ReduceSum", z, np.array([1], dtype=I64), keepdims=1)
        mean = divided(graph, cast(graph, total, TensorProto.INT64), u.shape[0], 2 * form.pre_activation.top)
        z = graph.op("Sub", z, cast(graph, mean, TensorProto.DOUBLE))
    shift = form.pre_activation.one - form.transmitted.one
    y = requantised(graph, graph.op("Max", z, np.array(0, F64)), shift, form.transmitted, form.rounding)
    return pooled(graph, Value(cast(graph, y, TensorProto.FLOAT), u.shape), spec.pool)


def pre_activations(graph: Graph, u: Value, bias: Ints, form: LayerFormats, name: str) -> str:
    """Step 3's pre-activations of one sample each, bias included, in float64."""
    held = per_channel(shift_right(bias, BIAS_GUARD_BITS, form.rounding), u.shape)
    total = graph.op("Add", u.name, graph.constant(held, F64, f"{name}.bias"))
    shifts = per_channel(np.asarray(form.accumulator.fracs) - form.pre_activation.one, u.shape)
    return requantised(graph, total, shifts, form.pre_activation, form.rounding)


def _bit_length(graph: Graph, v: str, x: Value) -> str:
    """Bits of int64 `[N, 1, ...] >= 0`: how many powers of two are not above it."""
    column = graph.op("Reshape", v, np.array([-1, 1], dtype=I64))
    powers = 1 << np.arange(48, dtype=I64)
    reached = graph.op("Not", graph.op("Less", column, powers))
    count = graph.op("ReduceSum", cast(graph, reached, TensorProto.INT64), np.array([1], dtype=I64), keepdims=1)
    return graph.op("Reshape", count, np.array([-1, *(1,) * len(x.shape)], dtype=I64))


def _isqrt(graph: Graph, q: str) -> str:
    """Integer square root of int64 below 2^53, correct however a runtime rounds its square root."""
    root = cast(graph, graph.op("Sqrt", cast(graph, q, TensorProto.DOUBLE)), TensorProto.INT64)
    above = graph.op("Greater", graph.op("Mul", root, root), q)
    root = graph.op("Sub", root, cast(graph, above, TensorProto.INT64))
    following = graph.op("Add", root, np.array(1, I64))
    above = graph.op("Greater", graph.op("Mul", following, following), q)
    return graph.op("Sub", following, cast(graph, above, TensorProto.INT64))


def cast(graph: Graph, x: str, kind: int) -> str:
    """In another element type."""
    return graph.op("Cast", x, to=kind)
