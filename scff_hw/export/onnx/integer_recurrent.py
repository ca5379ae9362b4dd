"""A recurrent network in the integers of the reference, for the graphs of `recurrent.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scff_hw.backends.fixed.formats.formats import LayerFormats
from scff_hw.backends.fixed.reference.layer import MEAN_GUARD_BITS, IntegerLayer
from scff_hw.backends.fixed.reference.recurrent import IntegerDirection, IntegerRecurrent
from scff_hw.export.onnx.dependencies import TensorProto, onnx
from scff_hw.export.onnx.exact import divided_wide, f32, requantised
from scff_hw.export.onnx.graph import FEATURES, LOGITS, Graph, Value
from scff_hw.export.onnx.integer import (
    IntegerReadout,
    cast,
    integer_features,
    integer_layer,
    on_grid,
    pre_activations,
    product,
    read_out,
    summed,
)
from scff_hw.export.onnx.recurrent import direction_name, tensor
from scff_hw.export.onnx.standardise import standardised

MOST_STEPS = 1 << 16
"""Largest number of steps per sequence in the specification."""


@dataclass(frozen=True)
class IntegerSequences:
    """An `Arithmetic` in integers.

    Attributes:
        first: the reference's recurrent layer, whose `forward` and `features` the graph equals.
        dense: the reference's dense layers after it.
        layers: 0-based indices of the layers whose features the readout reads.
    """

    first: IntegerRecurrent
    dense: Sequence[IntegerLayer]
    layers: Sequence[int]
    readout: IntegerReadout
    about = "integers: equal to scff-hw's integer reference"
    state_kind = TensorProto.INT8
    sum_kind = TensorProto.INT32

    @property
    def features_in(self) -> int:
        return self.first.directions[0].inputs.stored.shape[1]

    @property
    def units(self) -> int:
        return self.first.directions[0].units

    @property
    def backwards(self) -> tuple[bool, ...]:
        return tuple(direction.backwards for direction in self.first.directions)

    @property
    def averages(self) -> bool:
        return self.first.averages

    def frames(self, graph: Graph, x: str) -> str:
        form = self.first.directions[0].inputs.spec.formats
        raw = on_grid(graph, Value(x, (self.features_in,)), form.input)
        return standardised(graph, raw, form.standardised, form.rounding).name

    def input_drive(self, graph: Graph, frames: str, direction: int) -> str:
        part, name = self._direction(direction)
        form, weight = part.inputs.spec.formats, part.inputs.weight
        read = Value(frames, (self.features_in,))
        u = product(graph, read, weight, None, form.standardised.top, f"{name}.inputs.weight")
        v = summed(graph, u, None, form, "")
        bias = graph.constant(part.bias_drive, np.float32, f"{name}.inputs.bias")
        return graph.op("Add", graph.op("Mul", v, f32(2)), bias)

    def next_state(self, graph: Graph, state: str, drive: str, direction: int) -> str:
        part, name = self._direction(direction)
        form, weight = self._form, part.hidden.weight
        u = product(graph, Value(state, (self.units,)), weight, None, form.standardised.top, f"{name}.hidden.weight")
        v = pre_activations(graph, u, part.hidden.bias, form, f"{name}.hidden")
        z = graph.op("Relu", graph.op("Add", drive, v))
        shift = form.pre_activation.frac_bits - form.output.frac_bits
        y = Value(requantised(graph, z, shift, form.output, form.rounding), (self.units,))
        return standardised(graph, y, form.standardised, form.rounding).name

    def read_out(
        self, graph: Graph, final: Sequence[str], total: Sequence[str], steps: str
    ) -> list[onnx.ValueInfoProto]:
        form = self._form
        shift = form.standardised.frac_bits - form.transmitted.frac_bits
        states = [self._transmitted(graph, state, shift) for state in final]
        if total:
            counts = graph.op("Unsqueeze", cast(graph, steps, TensorProto.FLOAT), np.array([1], np.int64))
            largest = form.standardised.top * MOST_STEPS, 0, MOST_STEPS
            for state_sum in total:
                mean = divided_wide(graph, state_sum, None, MEAN_GUARD_BITS, counts, largest)
                states.append(self._transmitted(graph, mean, shift + MEAN_GUARD_BITS))
        output, shape = graph.op("Concat", *states, axis=1), (self.units * len(states),)
        features = []
        if 0 in self.layers:
            # the states of each direction are already standardised
            shift = form.transmitted.frac_bits - form.feature.frac_bits
            features.append(Value(requantised(graph, output, shift, form.feature, form.rounding), shape))
        value = Value(output, shape)
        for index, layer in enumerate(self.dense[: max(self.layers)], start=1):
            value = integer_layer(graph, value, layer, f"layers.{index + 1}")
            if index in self.layers:
                features.append(integer_features(graph, value, layer))
        width = read_out(graph, features, self.readout, form.feature.top)
        return [
            tensor(FEATURES, TensorProto.INT8, width),
            tensor(LOGITS, TensorProto.INT32, len(self.readout.bias)),
        ]

    def _transmitted(self, graph: Graph, x: str, shift: int) -> str:
        return requantised(graph, x, shift, self._form.transmitted, self._form.rounding)

    @property
    def _form(self) -> LayerFormats:
        return self.first.spec.formats

    def _direction(self, number: int) -> tuple[IntegerDirection, str]:
        direction = self.first.directions[number]
        return direction, direction_name(direction.backwards)
