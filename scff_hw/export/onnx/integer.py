"""The integer graph of a fixed-point run: the integers of the specification, in operations that every runtime has.

The specification is `scff_hw/backends/fixed/README.md`; the graph must equal its implementation, `reference/`. Integers
are stored as

- int8 in the file (weights), cast where they are used;
- float32 everywhere else, below 2^24, where they are exact: see `exact.py`. A larger sum is split. ONNX's own integer
  products are not used: onnxruntime's ConvInteger does not support int8, and its 8-bit products saturate on some
  processors;
- int32 in logits that can exceed 2^24.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scff_hw.backends.fixed.formats.formats import BIAS_GUARD_BITS, LayerFormats, QFormat
from scff_hw.backends.fixed.reference.arithmetic import Ints, shift_right
from scff_hw.backends.fixed.reference.layer import IntegerLayer, PoolShape
from scff_hw.core.functional import Pool
from scff_hw.export.onnx.dependencies import TensorProto, onnx
from scff_hw.export.onnx.exact import (
    EXACT,
    divided,
    divided_wide,
    f32,
    requantised,
    scaled,
    split,
)
from scff_hw.export.onnx.graph import (
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
from scff_hw.export.onnx.standardise import TOP, standardised

I64 = np.int64

CUT_BITS = 8
"""Low bits that are split off a sum that can exceed 2^24."""

WHOLE_BITS = 31
"""Bits of the largest sum of products and bias, without the sign."""


@dataclass(frozen=True)
class Sums:
    """A matrix product of weights and activations, as a sum of float32 parts that are exact.

    Attributes:
        parts: values of the graph; the product is their sum.
        bounds: upper bound of each part's magnitude, `[channels]` each.
        shape: shape of one sample.
    """

    parts: tuple[str, ...]
    bounds: tuple[Ints, ...]
    shape: tuple[int, ...]

    def fits(self, bias: Ints) -> bool:
        """Whether the sum of all parts and a bias `[channels]` is exact in float32, in any order."""
        return bool((sum(self.bounds) + np.abs(bias)).max() < EXACT)


@dataclass(frozen=True)
class IntegerReadout:
    """The readout's integers.

    Attributes:
        weight: `[classes, F]`, 8 bits.
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
    """Return a network in the integers of the reference.

    Args:
        stack: the reference's layers, whose `forward`, `features` and `logits` the graph equals.
        layers: 0-based indices of the layers whose features the readout reads.
        shape: shape of one input sample.

    Returns:
        A model with the float graph's float32 input, and integer features (int8) and logits (int32).
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
    """Add the outputs: the concatenated features, float32 up to `top`, and their logits. Returns the feature count."""
    width = sum(value.size for value in features)
    read = Value(graph.op("Concat", *(value.name for value in features), axis=1), (width,))
    graph.op("Cast", read.name, name=FEATURES, to=TensorProto.INT8)
    u = product(graph, read, readout.weight, None, top, "readout.weight")
    kind = TensorProto.FLOAT if u.fits(readout.bias) else TensorProto.INT32
    parts = list(u.parts) if kind == TensorProto.FLOAT else [cast(graph, part, kind) for part in u.parts]
    total = graph.constant(readout.bias, np.float32 if kind == TensorProto.FLOAT else np.int32, "readout.bias")
    for part in parts:
        total = graph.op("Add", part, total)
    graph.op("Cast", total, name=LOGITS, to=TensorProto.INT32)
    return width


def integer_features(graph: Graph, output: Value, layer: IntegerLayer) -> Value:
    """Return a layer's output as features of the readout: pooled, flattened and standardised."""
    form = layer.spec.formats
    x = flat(graph, pooled(graph, output, layer.spec.readout_pool))
    return standardised(graph, x, form.feature, form.rounding)


def product(graph: Graph, x: Value, weight: Ints, kernel: int | None, top: int, name: str) -> Sums:
    """Return `W x` of integers up to `top`, in as many float32 products as exact sums need.

    Args:
        weight: `[C, fan_in]`; rows of a convolution are `[channels, kernel, kernel]`.
    """
    channels = x.shape[0] if kernel is not None else weight.shape[1]
    by_channel = weight.reshape(len(weight), channels, -1)
    sums = np.abs(by_channel).sum(axis=2) * top
    ends = []
    start = 0
    while start < channels:
        reach = np.cumsum(sums[:, start:], axis=1).max(axis=0)
        stop = start + max(int((reach < EXACT).sum()), 1)
        ends.append((start, stop))
        start = stop
    parts = []
    for start, stop in ends:
        part = by_channel[:, start:stop]
        stored = graph.constant(
            part.reshape(len(part), -1) if kernel is None else part.reshape(len(part), -1, kernel, kernel),
            np.int8,
            name if len(ends) == 1 else f"{name}.{start}",
        )
        kernels = cast(graph, stored, TensorProto.FLOAT)
        values = x.name
        if len(ends) > 1:
            bounds = (np.array([index], dtype=I64) for index in (start, stop, 1))
            values = graph.op("Slice", values, *bounds)
        operands = values, kernels
        parts.append(graph.op("Gemm", *operands, transB=1) if kernel is None else graph.op("Conv", *operands))
    sides = () if kernel is None else (side - kernel + 1 for side in x.shape[1:])
    return Sums(tuple(parts), tuple(sums[:, a:b].sum(axis=1) for a, b in ends), (len(weight), *sides))


def summed(graph: Graph, u: Sums, bias: Ints | None, form: LayerFormats, name: str) -> str:
    """Return the sum of products and bias at the scale of pre-activations: a rounding shift, saturated.

    Args:
        bias: `[channels]`, integers at the products' scale, or None.
        name: name of the bias.
    """
    shift = np.asarray(form.accumulator.fracs) - form.pre_activation.frac_bits
    added = np.zeros(u.shape[0], I64) if bias is None else bias
    if u.fits(added):
        total, *more = [*u.parts, *([] if bias is None else [_constant(graph, added, u.shape, name)])]
        for part in more:
            total = graph.op("Add", total, part)
    else:
        total = _cut(graph, u, added, shift, name)
    return requantised(graph, total, per_channel(shift, u.shape), form.pre_activation, form.rounding)


def _cut(graph: Graph, u: Sums, bias: Ints, shift: Ints, name: str) -> str:
    """Return a float32 number that shifts, rounds and saturates to the same result as a sum that can exceed 2^24.

    If the shift is larger than 8 bits, the last 8 bits matter only in whether they are all 0; otherwise a sum above
    2^24 saturates whatever its last bits.
    """
    assert (sum(u.bounds) + np.abs(bias)).max() < 1 << WHOLE_BITS, "a sum has more than 32 bits"
    high = _constant(graph, bias >> CUT_BITS, u.shape, f"{name}.high")
    low = _constant(graph, bias & (1 << CUT_BITS) - 1, u.shape, f"{name}.low")
    for part in u.parts:
        upper, lower = split(graph, part, CUT_BITS)
        high, low = graph.op("Add", upper, high), graph.op("Add", lower, low)
    carried, rest = split(graph, low, CUT_BITS)
    far = np.broadcast_to(shift > CUT_BITS, u.shape[:1])
    most = per_channel(f32(np.where(far, 1, (1 << CUT_BITS) - 1)), u.shape)
    worth = per_channel(f32(np.where(far, 1 << CUT_BITS - 1, 1)), u.shape)
    upper = graph.op("Mul", graph.op("Add", high, carried), f32(1 << CUT_BITS))
    return graph.op("Add", upper, graph.op("Mul", graph.op("Min", rest, most), worth))


def _constant(graph: Graph, values: Ints, shape: Sequence[int], name: str) -> str:
    """Return the integers `[channels]` as float32 that broadcast over samples of `shape`."""
    return graph.constant(per_channel(values, shape), np.float32, name)


def pooled(graph: Graph, x: Value, pool: PoolShape | None) -> Value:
    """Step 9 of the specification: pooling of float32 integers."""
    if pool is None:
        return x
    shape = Pool("max" if pool.kind == "max" else "avg", pool.size, pool.stride, pool.padding, pool.ceil)
    if shape.kind == "max":
        return max_pooled(graph, x, shape)
    windows = Windows.of(shape, x.shape)
    # channels become samples, so that one filter sums every map
    maps = graph.op("Reshape", x.name, np.array([-1, 1, *x.shape[1:]], dtype=I64))
    ones = np.ones((1, 1, shape.size, shape.size), np.float32)
    sums = graph.op("Conv", maps, ones, strides=[shape.stride] * 2, pads=windows.pads)
    means = divided(graph, sums, windows.counts, (TOP + 1) * shape.size**2)
    return Value(graph.op("Reshape", means, np.array([-1, *windows.shape], dtype=I64)), windows.shape)


def on_grid(graph: Graph, x: Value, form: QFormat) -> Value:
    """Step 1: data quantised to `form`."""
    return Value(scaled(graph, x.name, f32(2.0**form.frac_bits), form, "half_even"), x.shape)


def integer_layer(graph: Graph, x: Value, layer: IntegerLayer, name: str) -> Value:
    """Return the steps 2, 3, 4 and 9 of one layer."""
    spec, form = layer.spec, layer.spec.formats
    if spec.kernel is None:
        x = flat(graph, x)
    read = standardised(graph, reflected(graph, x, spec.padding), form.standardised, form.rounding)
    u = product(graph, read, layer.weight, spec.kernel, form.standardised.top, f"{name}.weight")
    z, top = pre_activations(graph, u, layer.bias, form, name), form.pre_activation.top
    if spec.makes_pairs:
        z, top = graph.op("Mul", z, f32(2)), 2 * top
    if spec.transmit == "triangle":
        z = graph.op("Sub", z, _mean_of_channels(graph, z, u.shape[0], top))
    shift = form.pre_activation.frac_bits - form.transmitted.frac_bits
    y = requantised(graph, graph.op("Relu", z), shift, form.transmitted, form.rounding)
    return pooled(graph, Value(y, u.shape), spec.pool)


def pre_activations(graph: Graph, u: Sums, bias: Ints, form: LayerFormats, name: str) -> str:
    """Step 3: the pre-activations of single samples, bias included."""
    return summed(graph, u, shift_right(bias, BIAS_GUARD_BITS, form.rounding), form, f"{name}.bias")


def _mean_of_channels(graph: Graph, z: str, channels: int, top: int) -> str:
    """Return the rounded mean over channels of integers up to `top`."""
    axis = np.array([1], dtype=I64)
    if (top + 1) * channels < EXACT:
        return divided(graph, graph.op("ReduceSum", z, axis, keepdims=1), channels, (top + 1) * channels)
    high, low = (graph.op("ReduceSum", part, axis, keepdims=1) for part in split(graph, z, CUT_BITS))
    largest = ((top >> CUT_BITS) + 1) * channels, ((1 << CUT_BITS) - 1) * channels, channels
    return divided_wide(graph, high, low, CUT_BITS, channels, largest)


def cast(graph: Graph, x: str, kind: int) -> str:
    """Return a value cast to another element type."""
    return graph.op("Cast", x, to=kind)
