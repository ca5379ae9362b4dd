"""A recurrent network in float32, as `scff_hw.core.recurrent` computes it, for the graphs of `recurrent.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from scff_hw.core.network import Network, feed_forward
from scff_hw.core.recurrent import Direction, RecurrentLayer
from scff_hw.export.onnx.dependencies import TensorProto, onnx
from scff_hw.export.onnx.float import F32, float_features, float_layer, named, read_out, standardised
from scff_hw.export.onnx.graph import FEATURES, LOGITS, Graph, Value
from scff_hw.export.onnx.recurrent import direction_name, tensor


def recurrent_first(network: Network) -> RecurrentLayer:
    """Return the recurrent layer, which is the first of its network."""
    first = network.layers[0]
    assert isinstance(first, RecurrentLayer), "a network without a recurrent layer was exported as one with"
    return first


@dataclass(frozen=True)
class FloatSequences:
    """An `Arithmetic` in float32.

    Attributes:
        network: a recurrent layer, followed by dense layers.
        layers: 0-based indices of the layers whose features the readout reads.
        weight, bias: the readout, `[classes, F]` and `[classes]`.
    """

    network: Network
    layers: Sequence[int]
    weight: Tensor
    bias: Tensor
    about = "float32"
    state_kind = TensorProto.FLOAT
    sum_kind = TensorProto.FLOAT

    @property
    def features_in(self) -> int:
        return recurrent_first(self.network).features_in

    @property
    def units(self) -> int:
        return recurrent_first(self.network).units

    @property
    def backwards(self) -> tuple[bool, ...]:
        return tuple(direction.backwards for direction in recurrent_first(self.network).directions)

    @property
    def averages(self) -> bool:
        return recurrent_first(self.network).averages

    def frames(self, graph: Graph, x: str) -> str:
        return standardised(graph, Value(x, (self.features_in,))).name

    def input_drive(self, graph: Graph, frames: str, direction: int) -> str:
        part, name = self._direction(direction)
        weight = named(graph, part.inputs.weight, f"{name}.inputs.weight")
        # both halves of a pair, plus both biases
        twice = graph.op("Mul", graph.op("Gemm", frames, weight, transB=1), np.array(2, F32))
        return graph.op("Add", twice, named(graph, part.inputs.bias + part.hidden.bias, f"{name}.bias"))

    def next_state(self, graph: Graph, state: str, drive: str, direction: int) -> str:
        part, name = self._direction(direction)
        weight = named(graph, part.hidden.weight, f"{name}.hidden.weight")
        z = graph.op("Add", drive, graph.op("Gemm", state, weight, transB=1))
        return standardised(graph, Value(graph.op("Relu", z), (self.units,))).name

    def read_out(
        self, graph: Graph, final: Sequence[str], total: Sequence[str], steps: str
    ) -> list[onnx.ValueInfoProto]:
        states = list(final)
        if total:
            counts = graph.op("Cast", steps, to=TensorProto.FLOAT)
            divisor = graph.op("Unsqueeze", counts, np.array([1], np.int64))
            states += [graph.op("Div", state_sum, divisor) for state_sum in total]
        value = Value(graph.op("Concat", *states, axis=1), (self.units * len(states),))
        # the states of each direction are already standardised
        features = [value] if 0 in self.layers else []
        dense = feed_forward(Network(self.network.layers[1 : max(self.layers) + 1]))
        for index, layer in enumerate(dense, start=1):
            value = float_layer(graph, value, layer, f"layers.{index + 1}")
            if index in self.layers:
                features.append(float_features(graph, value, layer.readout_pool))
        width = read_out(graph, features, self.weight, self.bias)
        return [tensor(FEATURES, TensorProto.FLOAT, width), tensor(LOGITS, TensorProto.FLOAT, len(self.bias))]

    def _direction(self, number: int) -> tuple[Direction, str]:
        direction = recurrent_first(self.network).directions[number]
        return direction, direction_name(direction.backwards)
