"""Quantised graphs of a fixed-point run, in three dialects that runtimes and hardware tools read.

`qdq` puts QuantizeLinear and DequantizeLinear around float products, `qoperator` multiplies in QLinearMatMul and
QLinearConv, `qonnx` uses the Quant operator of QONNX. Weights, scales and the formats of activations are the run's;
averages and the means of standardisations are rounded as in the reference. All other operations between two
quantisations are in float32, so a value close to a rounding boundary can round to the other side: the results are close
to the integer reference, but not equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from scff_hw.backends.fixed.formats.formats import BIAS_GUARD_BITS, QFormat
from scff_hw.backends.fixed.reference.arithmetic import Ints, shift_right
from scff_hw.backends.fixed.reference.layer import MEAN_GUARD_BITS, IntegerLayer, PoolShape
from scff_hw.core.functional import Pool
from scff_hw.export.onnx import float as onnx_float
from scff_hw.export.onnx.dependencies import TensorProto, onnx
from scff_hw.export.onnx.graph import FEATURES, INPUT, LOGITS, Graph, Value, Windows, flat, reflected
from scff_hw.export.onnx.integer import IntegerReadout

QONNX = "qonnx.custom_op.general"
ZERO = np.array(0, np.int8)


class Dialect(Protocol):
    """The operators of a graph for quantised numbers and their products."""

    def activation(self, graph: Graph, x: Value, form: QFormat) -> Value:
        """Return float32 numbers quantised to `form`."""
        ...

    def product(
        self, graph: Graph, x: Value, weight: Ints, bias: Ints, forms: tuple[QFormat, QFormat], name: str, index: int
    ) -> Value:
        """Return `W x + b` in float32, where `x` is a result of `activation`.

        Args:
            weight: `[C, F]` or `[C, channels, kernel, kernel]`.
            bias: `[C]`, at the products' scale.
            forms: formats of `x` and of the weights.
            index: index of the layer; -1 for the readout.
        """
        ...

    def pre_activation(self, graph: Graph, x: Value, form: QFormat) -> Value:
        """Return a pre-activation quantised to `form`, 16 bits, as far as the dialect supports it."""
        ...


class Qdq:
    """QuantizeLinear and DequantizeLinear of 8 bits. A pre-activation stays in float32: opset 13 has no 16 bits."""

    def activation(self, graph: Graph, x: Value, form: QFormat) -> Value:
        scale, name = _scale(form), x.name
        if form.bits < 8:
            limits = (np.array(sign * form.top * 2.0**-form.frac_bits, np.float32) for sign in (-1, 1))
            name = graph.op("Clip", name, *limits)
        integers = graph.op("QuantizeLinear", name, scale, ZERO)
        return Value(graph.op("DequantizeLinear", integers, scale, ZERO), x.shape)

    def product(
        self, graph: Graph, x: Value, weight: Ints, bias: Ints, forms: tuple[QFormat, QFormat], name: str, index: int
    ) -> Value:
        read, form = forms
        integers = graph.constant(weight, np.int8, f"{name}.weight")
        unit = _scale(form)
        parts = [
            x.name,
            graph.op("DequantizeLinear", integers, unit, np.zeros(unit.shape, np.int8), axis=0),
            _bias(graph, bias, unit * _scale(read), name),
        ]
        u = graph.op("Gemm", *parts, transB=1) if weight.ndim == 2 else graph.op("Conv", *parts)
        return Value(u, _shape(x, weight))

    def pre_activation(self, graph: Graph, x: Value, form: QFormat) -> Value:
        return x


class QOperator(Qdq):
    """QLinearMatMul and QLinearConv: their outputs have 8 bits, so hidden pre-activations lose 8 of 16 bits.

    Args:
        outputs: the 8-bit format of each hidden layer's product.
    """

    def __init__(self, outputs: Sequence[QFormat]) -> None:
        self._outputs = outputs

    def product(
        self, graph: Graph, x: Value, weight: Ints, bias: Ints, forms: tuple[QFormat, QFormat], name: str, index: int
    ) -> Value:
        read, form = forms
        scale, unit = _scale(read), _scale(form)
        integers = graph.op("QuantizeLinear", x.name, scale, ZERO)
        if index < 0:
            rows = graph.constant(weight.T, np.int8, f"{name}.weight")
            total = graph.op("MatMulInteger", integers, rows, ZERO[None], ZERO[None])
            total = graph.op("Add", total, graph.constant(bias, np.int32, f"{name}.bias"))
            return Value(graph.op("DequantizeLinear", total, unit * scale), _shape(x, weight))
        to = _scale(self._outputs[index])
        if weight.ndim == 2:
            rows = graph.constant(weight.T, np.int8, f"{name}.weight")
            product = graph.op("QLinearMatMul", integers, scale, ZERO, rows, unit, ZERO, to, ZERO)
            u = graph.op("DequantizeLinear", product, to, ZERO)
            return Value(graph.op("Add", u, _bias(graph, bias, unit * scale, name)), _shape(x, weight))
        kernels = graph.constant(weight, np.int8, f"{name}.weight")
        sums = graph.constant(bias, np.int32, f"{name}.bias")
        product = graph.op("QLinearConv", integers, scale, ZERO, kernels, unit, ZERO, to, ZERO, sums)
        return Value(graph.op("DequantizeLinear", product, to, ZERO), _shape(x, weight))


class QOnnx:
    """QONNX's Quant, which supports any width: pre-activations have 16 bits."""

    def activation(self, graph: Graph, x: Value, form: QFormat) -> Value:
        return Value(self._quant(graph, x.name, form, x.shape), x.shape)

    def product(
        self, graph: Graph, x: Value, weight: Ints, bias: Ints, forms: tuple[QFormat, QFormat], name: str, index: int
    ) -> Value:
        read, form = forms
        units = np.exp2(-np.asarray(form.fracs, np.float64))
        numbers = weight * units.reshape(-1, *(1,) * (weight.ndim - 1))
        quantised = self._quant(graph, graph.constant(numbers, np.float32, f"{name}.weight"), form, weight.shape, False)
        added = graph.constant(bias * units * 2.0**-read.frac_bits, np.float32, f"{name}.bias")
        parts = (x.name, quantised, added)
        u = graph.op("Gemm", *parts, transB=1) if weight.ndim == 2 else graph.op("Conv", *parts)
        return Value(u, _shape(x, weight))

    def pre_activation(self, graph: Graph, x: Value, form: QFormat) -> Value:
        return self.activation(graph, x, form)

    def _quant(self, graph: Graph, x: str, form: QFormat, shape: Sequence[int], batch: bool = True) -> str:
        scale = np.exp2(-np.asarray(form.fracs, np.float64)).astype(np.float32)
        scale = scale.reshape(-1, *(1,) * (len(shape) - 1)) if scale.size > 1 else scale.reshape(())
        parts = (scale, np.array(0, np.float32), np.array(form.bits, np.float32))
        name = graph.op("Quant", x, *parts, domain=QONNX, signed=1, narrow=1, rounding_mode="ROUND")
        graph.declare(name, shape, batch=batch)
        return name


def quantised_model(
    dialect: Dialect,
    stack: Sequence[IntegerLayer],
    layers: Sequence[int],
    readout: IntegerReadout,
    shape: Sequence[int],
    metadata: Mapping[str, str],
    name: str,
) -> onnx.ModelProto:
    """Return a network in one of the dialects, with float32 input, features and logits.

    Args:
        stack: the reference's layers, whose integers the graph contains.
        layers: 0-based indices of the layers whose features the readout reads.
        shape: shape of one input sample.
    """
    graph = Graph({QONNX: 1} if isinstance(dialect, QOnnx) else None)
    value = dialect.activation(graph, Value(INPUT, tuple(shape)), stack[0].spec.formats.input)
    features = []
    for index, layer in enumerate(stack[: max(layers) + 1]):
        value = _layer(graph, dialect, value, layer, index)
        if index in layers:
            form = layer.spec.formats
            x = flat(graph, _pooled(graph, dialect, value, layer.spec.readout_pool, form.transmitted))
            features.append(dialect.activation(graph, _standardised(graph, x, form.transmitted), form.feature))
    width = sum(value.size for value in features)
    read = Value(graph.op("Concat", *(value.name for value in features), name=FEATURES, axis=1), (width,))
    feature = stack[0].spec.formats.feature
    forms = feature, QFormat(8, readout.frac - feature.frac_bits)
    logits = dialect.product(graph, read, readout.weight, readout.bias, forms, "readout", -1)
    graph.op("Identity", logits.name, name=LOGITS)
    outputs = {FEATURES: (width, TensorProto.FLOAT), LOGITS: (len(readout.bias), TensorProto.FLOAT)}
    description = f"SCFF network and linear readout, {name}"
    return graph.model(f"scff_{name}", shape, outputs, metadata, description)


def _layer(graph: Graph, dialect: Dialect, x: Value, layer: IntegerLayer, index: int) -> Value:
    spec, form = layer.spec, layer.spec.formats
    x = flat(graph, x) if spec.kernel is None else reflected(graph, x, spec.padding)
    read = dialect.activation(graph, _standardised(graph, x, form.input), form.standardised)
    weight = layer.weight
    if spec.kernel is not None:
        weight = weight.reshape(len(weight), -1, spec.kernel, spec.kernel)
    bias = shift_right(layer.bias, BIAS_GUARD_BITS, form.rounding)
    forms = form.standardised, form.weight
    v = dialect.product(graph, read, weight, bias, forms, f"layers.{index + 1}", index)
    v = dialect.pre_activation(graph, v, form.pre_activation)
    z = Value(graph.op("Mul", v.name, np.array(2, np.float32)), v.shape) if spec.makes_pairs else v
    y = dialect.activation(graph, onnx_float.transmitted(graph, z, spec.transmit), form.transmitted)
    return _pooled(graph, dialect, y, spec.pool, form.transmitted)


def _standardised(graph: Graph, x: Value, form: QFormat) -> Value:
    """Zero mean and unit unbiased standard deviation of numbers in `form`; zeros where all numbers are equal.

    The mean is rounded as in the reference, so that it equals numbers that are all equal.
    """
    n, step, guarded = x.size, 2.0**-form.frac_bits, 2.0 ** -(form.frac_bits + MEAN_GUARD_BITS)
    mean = graph.op("ReduceMean", x.name, axes=x.axes, keepdims=1)
    # QONNX's cleanup fails on a node that reads a value twice
    squares = graph.op("Pow", graph.op("Sub", x.name, mean), np.array(2, np.float32))
    energy = graph.op("ReduceSum", squares, np.array(x.axes, np.int64), keepdims=1)
    variance = graph.op("Mul", energy, np.array(1 / max(n - 1, 1), np.float32))
    # n numbers that are not all equal have at least twice this variance
    std = graph.op("Sqrt", graph.op("Max", variance, np.array(step**2 / (2 * n), np.float32)))
    lifted = graph.op("Add", graph.op("Mul", mean, np.array(1 / guarded, np.float32)), np.array(0.5, np.float32))
    rounded = graph.op("Mul", graph.op("Floor", lifted), np.array(guarded, np.float32))
    return Value(graph.op("Div", graph.op("Sub", x.name, rounded), std), x.shape)


def _pooled(graph: Graph, dialect: Dialect, x: Value, pool: PoolShape | None, form: QFormat) -> Value:
    """Return the pooled numbers in `form`; averages are requantised, halves up as in the reference."""
    if pool is None:
        return x
    shape = Pool("max" if pool.kind == "max" else "avg", pool.size, pool.stride, pool.padding, pool.ceil)
    pooled = onnx_float.pooled(graph, x, shape)
    if shape.kind == "max":
        return pooled
    # averages of n are multiples of 1/n step: adding 1/(4 n) step rounds halves up and changes no other rounding
    counts = Windows.of(shape, x.shape).counts
    lift = 2.0**-form.frac_bits / (4 * (counts if (counts != counts.flat[0]).any() else counts.flat[0]))
    lifted = Value(graph.op("Add", pooled.name, np.asarray(lift, np.float32)), pooled.shape)
    return dialect.activation(graph, lifted, form)


def _scale(form: QFormat) -> np.ndarray:
    """Return one step of a format, float32: a scalar, or `[C]`."""
    scale = np.exp2(-np.asarray(form.fracs, np.float64)).astype(np.float32)
    return scale if isinstance(form.frac, tuple) else scale.reshape(())


def _bias(graph: Graph, bias: Ints, scale: np.ndarray, name: str) -> str:
    return graph.op("DequantizeLinear", graph.constant(bias, np.int32, f"{name}.bias"), scale, axis=0)


def _shape(x: Value, weight: Ints) -> tuple[int, ...]:
    if weight.ndim == 2:
        return (len(weight),)
    return (len(weight), *(side - weight.shape[2] + 1 for side in x.shape[1:]))
