"""A graph under construction: nodes, initialisers and the shapes of values.

All graphs are opset 13 and IR version 8, which runtimes have read since 2020. The batch and the steps of sequences are
dynamic dimensions; every other size is a constant of the graph.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scff_hw.core.functional import Pool
from scff_hw.export.onnx.dependencies import TensorProto, helper, numpy_helper, onnx

OPSET = 13
IR_VERSION = 8

INPUT, LENGTHS, FEATURES, LOGITS = "x", "lengths", "features", "logits"
BATCH, STEPS = "N", "T"


@dataclass(frozen=True)
class Value:
    """A tensor of the graph.

    Attributes:
        name: name in the graph.
        shape: shape of one sample, without the batch.
    """

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def axes(self) -> list[int]:
        """All dimensions except the batch."""
        return list(range(1, len(self.shape) + 1))


class Graph:
    """Collects nodes and initialisers; equal constants are stored once.

    Args:
        domains: versions of further operator sets, besides ONNX's own.
        prefix: prefix of numbered names; it must differ between a graph and the bodies of its nodes.
    """

    def __init__(self, domains: Mapping[str, int] | None = None, prefix: str = "") -> None:
        self._prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.initialisers: dict[str, onnx.TensorProto] = {}
        self.declared: list[onnx.ValueInfoProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._count = 0
        self._domains = {"": OPSET} | dict(domains or {})

    def constant(self, value: Any, dtype: Any = None, name: str = "") -> str:
        """Return the name of an initialiser with this value."""
        array = np.asarray(value, dtype=dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = name or f"{self._prefix}c{len(self._constants)}"
            self.initialisers[self._constants[key]] = numpy_helper.from_array(array, self._constants[key])
        return self._constants[key]

    def op(self, kind: str, *inputs: str | NDArray[Any], name: str = "", domain: str = "", **attributes: Any) -> str:
        """Add a node with one output, and return the output's name.

        Args:
            inputs: names, or arrays that become initialisers.
            name: name of the output; empty for a numbered name.
        """
        names = [x if isinstance(x, str) else self.constant(x) for x in inputs]
        if not name:
            self._count += 1
            name = f"{self._prefix}{kind.lower()}{self._count}"
        self.nodes.append(helper.make_node(kind, names, [name], name=f"{name}_node", domain=domain, **attributes))
        return name

    def declare(self, name: str, shape: Sequence[int], *, batch: bool = True) -> None:
        """Declare the shape of a float32 value that shape inference cannot infer, since its node has no schema."""
        sizes = [BATCH, *shape] if batch else list(shape)
        self.declared.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes))

    def model(
        self,
        name: str,
        input_shape: Sequence[int],
        outputs: Mapping[str, tuple[int, int]],
        metadata: Mapping[str, str],
        description: str,
    ) -> onnx.ModelProto:
        """Return the finished model, with the float32 input `x` `[N, *input_shape]`.

        Args:
            outputs: width and element type by name; each output is `[N, width]`.
            metadata: text by key, stored in the model.
        """
        x = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [BATCH, *input_shape])
        infos = [helper.make_tensor_value_info(key, kind, [BATCH, width]) for key, (width, kind) in outputs.items()]
        return self.whole(name, [x], infos, metadata, description)

    def whole(
        self,
        name: str,
        inputs: Sequence[onnx.ValueInfoProto],
        outputs: Sequence[onnx.ValueInfoProto],
        metadata: Mapping[str, str],
        description: str,
    ) -> onnx.ModelProto:
        """Return the finished model, with any inputs and outputs."""
        graph = helper.make_graph(
            self.nodes,
            name,
            inputs,
            outputs,
            list(self.initialisers.values()),
            doc_string=description,
            value_info=self.declared,
        )
        model = helper.make_model(
            graph,
            producer_name="scff-hw",
            producer_version=version("scff-hw"),
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid(domain, number) for domain, number in self._domains.items()],
            doc_string=description,
        )
        helper.set_model_props(model, dict(metadata))
        return model


@dataclass(frozen=True)
class Windows:
    """Pooling windows with explicit pads and without ceil mode, on which runtimes differ.

    Attributes:
        pads: rows and columns added before, then after.
        shape: shape of the pooled map, channels first.
        counts: divisors of averages, `[1, 1, H', W']`: padded zeros count, positions of a last window past the padding
            do not.
    """

    pads: list[int]
    shape: tuple[int, int, int]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, pool: Pool, shape: Sequence[int]) -> Windows:
        """Return the windows of a pool on maps `(channels, height, width)`, at PyTorch's positions."""
        channels, *sides = shape
        pads_after, lengths, covered = [], [], []
        for length in sides:
            reach = length + 2 * pool.padding - pool.size
            count = (-(-reach // pool.stride) if pool.ceil else reach // pool.stride) + 1
            count -= pool.ceil and (count - 1) * pool.stride >= length + pool.padding
            starts = np.arange(count) * pool.stride - pool.padding
            ends = np.minimum(starts + pool.size, length + pool.padding)
            pads_after.append(max(int(starts[-1]) + pool.size - length, 0))
            lengths.append(int(count))
            covered.append((ends - starts).astype(np.int64))
        counts = np.outer(covered[0], covered[1])[None, None]
        return cls([pool.padding, pool.padding, *pads_after], (channels, lengths[0], lengths[1]), counts)


def flat(graph: Graph, x: Value) -> Value:
    """Return a value flattened to `[N, size]`."""
    return x if len(x.shape) == 1 else Value(graph.op("Flatten", x.name, axis=1), (x.size,))


def reflected(graph: Graph, x: Value, padding: int) -> Value:
    """Return a value with height and width padded by reflection."""
    if not padding:
        return x
    channels, height, width = x.shape
    pads = np.array([0, 0, padding, padding] * 2, dtype=np.int64)
    name = graph.op("Pad", x.name, pads, mode="reflect")
    return Value(name, (channels, height + 2 * padding, width + 2 * padding))


def max_pooled(graph: Graph, x: Value, pool: Pool) -> Value:
    """Return the maxima of the windows of a float32 map."""
    windows = Windows.of(pool, x.shape)
    name = graph.op(
        "MaxPool", x.name, kernel_shape=[pool.size] * 2, strides=[pool.stride] * 2, pads=windows.pads
    )
    return Value(name, windows.shape)


def per_channel(values: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    """Return `[C]` values, or one value, reshaped to broadcast over `[N, C, ...]`; `shape` is without the batch."""
    return np.reshape(values, (1, -1, *(1,) * (len(shape) - 1)))
