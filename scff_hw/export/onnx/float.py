"""The float graph of a network: the operations of `scff_hw.core` at inference, in float32.

`scff_hw.core.functional` and `scff_hw.core.pairs` cite the source of each operation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from scff_hw.core.functional import FLAT_ROUNDINGS, ORDINARY, Pool
from scff_hw.core.layer import PairLayer
from scff_hw.core.network import Network, feed_forward
from scff_hw.export.onnx.dependencies import TensorProto, onnx
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

F32 = np.float32


def float_model(
    network: Network,
    layers: Sequence[int],
    weight: Tensor,
    bias: Tensor,
    shape: Sequence[int],
    metadata: Mapping[str, str],
) -> onnx.ModelProto:
    """Return the network and its readout in float32.

    Args:
        network: feed-forward layers only.
        layers: 0-based indices of the layers whose features the readout reads.
        weight, bias: the readout, `[classes, F]` and `[classes]`.
        shape: shape of one input sample.
    """
    graph = Graph()
    value, features = Value(INPUT, tuple(shape)), []
    for index, layer in enumerate(feed_forward(network)[: max(layers) + 1]):
        value = float_layer(graph, value, layer, f"layers.{index + 1}")
        if index in layers:
            features.append(float_features(graph, value, layer.readout_pool))
    width = read_out(graph, features, weight, bias)
    outputs = {FEATURES: (width, TensorProto.FLOAT), LOGITS: (len(bias), TensorProto.FLOAT)}
    return graph.model("scff_float", shape, outputs, metadata, "SCFF network and linear readout in float32")


def read_out(graph: Graph, features: Sequence[Value], weight: Tensor, bias: Tensor) -> int:
    """Add the outputs: the concatenated features, and their logits. Returns the number of features."""
    read = graph.op("Concat", *(value.name for value in features), name=FEATURES, axis=1)
    readout = named(graph, weight, "readout.weight"), named(graph, bias, "readout.bias")
    graph.op("Gemm", read, *readout, name=LOGITS, transB=1)
    return sum(value.size for value in features)


def standardised(graph: Graph, x: Value) -> Value:
    """Zero mean and unit unbiased standard deviation per sample; zeros for a constant sample.

    The operations are those of `scff_hw.core.functional.standardise`, which explains them.
    """
    ends = (graph.op(kind, x.name, axes=x.axes, keepdims=1) for kind in ("ReduceMax", "ReduceMin"))
    high, low = ends
    span, largest = graph.op("Sub", high, low), graph.op("Max", high, graph.op("Neg", low))
    close = graph.op("LessOrEqual", span, graph.op("Mul", largest, np.array(0.5, F32)))
    extent = graph.op("Where", close, span, largest)
    within = graph.op("Clip", extent, *(np.array(end, F32) for end in ORDINARY))
    gain = graph.op("Div", within, graph.op("Max", extent, np.array(np.finfo(F32).tiny)))
    shifted = graph.op("Sub", x.name, graph.op("Where", close, low, np.array(0, F32)))
    centred, energy = _centred(graph, Value(graph.op("Mul", shifted, gain), x.shape))
    variance = graph.op("Div", energy, np.array(max(x.size - 1, 1), F32))
    rounding = graph.op("Mul", largest, np.array(FLAT_ROUNDINGS * np.finfo(F32).eps, F32))
    constant = graph.op("LessOrEqual", span, rounding)
    return Value(graph.op("Div", centred, _deviation(graph, variance, constant)), x.shape)


def _deviation(graph: Graph, variance: str, constant: str) -> str:
    """Return the square root of a variance; infinite where `constant`, so that quotients are 0."""
    return graph.op("Sqrt", graph.op("Where", constant, np.array(np.inf, F32), variance))


def pooled(graph: Graph, x: Value, pool: Pool | None) -> Value:
    """Return the pooling of a float32 map, as in PyTorch."""
    if pool is None:
        return x
    if pool.kind == "max":
        return max_pooled(graph, x, pool)
    windows = Windows.of(pool, x.shape)
    name = graph.op(
        "AveragePool",
        x.name,
        kernel_shape=[pool.size] * 2,
        strides=[pool.stride] * 2,
        pads=windows.pads,
        count_include_pad=1,
    )
    if (windows.counts != pool.size**2).any():
        name = graph.op("Mul", name, (pool.size**2 / windows.counts).astype(F32))
    return Value(name, windows.shape)


def transmitted(graph: Graph, z: Value, transmit: str) -> Value:
    """Return a layer's output before pooling: triangle or ReLU of a pre-activation."""
    name = z.name
    if transmit == "triangle":
        name = graph.op("Sub", name, graph.op("ReduceMean", name, axes=[1], keepdims=1))
    return Value(graph.op("Relu", name), z.shape)


def float_features(graph: Graph, output: Value, pool: Pool | None) -> Value:
    """Return a layer's output as features of the readout: pooled, flattened and standardised."""
    return standardised(graph, flat(graph, pooled(graph, output, pool)))


def float_layer(graph: Graph, x: Value, layer: PairLayer, name: str) -> Value:
    """Return a layer's output; `name` is the prefix of its arrays."""
    geometry = layer.array.geometry
    product = geometry.by_kind("a layer in ONNX", dense="Gemm", conv2d="Conv")
    options: dict[str, Any] = {"transB": 1} if product == "Gemm" else {}
    x = flat(graph, x) if geometry.flattens else x
    weight = named(graph, layer.array.weight, f"{name}.weight")
    bias = layer.array.bias
    if not layer.makes_pairs:
        x = standardised(graph, reflected(graph, x, layer.padding))
        parts = (x.name, weight, named(graph, bias, f"{name}.bias"))
        z = Value(graph.op(product, *parts, **options), geometry.output_shape(x.shape))
    else:
        x = reflected(graph, standardised(graph, x), layer.padding)
        centred, energy = _centred(graph, x)
        # a sample paired with itself has twice the energy over twice the values
        variance = graph.op("Mul", energy, np.array(2 / (2 * x.size - 1), F32))
        std = _deviation(graph, variance, graph.op("Equal", variance, np.array(0, F32)))
        u = graph.op(product, centred, weight, **options)
        shape = geometry.output_shape(x.shape)
        twice = per_channel(2 * bias.detach().cpu().float().numpy(), shape)
        scaled = graph.op("Mul", u, graph.op("Div", np.array(2, F32), std))
        z = Value(graph.op("Add", scaled, graph.constant(twice, name=f"{name}.twice_bias")), shape)
    return pooled(graph, transmitted(graph, z, layer.transmit), layer.pool)


def _centred(graph: Graph, x: Value) -> tuple[str, str]:
    """Return the centred values of each sample, and the sum of their squares, of the same rank."""
    centred = graph.op("Sub", x.name, graph.op("ReduceMean", x.name, axes=x.axes, keepdims=1))
    squares = graph.op("Mul", centred, centred)
    return centred, graph.op("ReduceSum", squares, np.array(x.axes, dtype=np.int64), keepdims=1)


def named(graph: Graph, values: Tensor, name: str) -> str:
    """Return the name of an initialiser with these values, in float32."""
    return graph.constant(values.detach().cpu().float().numpy(), name=name)
