"""The float graphs of a recurrent network: whole sequences at once, and one frame at a time.

Both hold `scff_hw.core.recurrent` at inference, each frame paired with itself, and what follows it. Whole sequences go
through ONNX's Scan, one node a direction, whose body is one step. The second direction reads what ReverseSequence has
turned, each sequence within its own length, so that in both directions a sequence fills the first steps. Beyond them
zeros are read, whatever was there, and states stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from scff_hw.core.network import Network, feed_forward
from scff_hw.core.recurrent import WAYS, Direction, RecurrentLayer
from scff_hw.export.onnx_float import F32, float_features, float_layer, named, read_out, standardised
from scff_hw.export.onnx_graph import BATCH, FEATURES, INPUT, LENGTHS, LOGITS, STEPS, Graph, Value
from scff_hw.export.onnx_parts import TensorProto, helper, onnx

CARRIED = {"state": "new_state", "sum": "new_sum", "count": "new_count"}
"""Inputs of a step, zeros before a sequence, and the outputs that are those of its next step."""

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def recurrent_first(network: Network) -> RecurrentLayer:
    """The recurrent layer, which is the first of its network."""
    first = network.layers[0]
    assert isinstance(first, RecurrentLayer), "a network without a recurrent layer was exported as one with"
    return first


def whole_sequences(
    network: Network, layers: Sequence[int], weight: Tensor, bias: Tensor, metadata: Mapping[str, str]
) -> onnx.ModelProto:
    """A recurrent network and its readout on sequences `x` `[N, T, F]`, float32, with `lengths` `[N]`, int64.

    T is at least 1. A length beyond T counts as T; one of 0, or below, is a sequence of nothing, whose states are those
    before the first frame, zeros.

    Args:
        network: a recurrent layer first, then dense ones.
        layers: 0-based, those whose features the readout reads.
        weight, bias: of the readout, `[classes, F]` and `[classes]`.
    """
    graph, layer = Graph(), recurrent_first(network)
    one, nothing = np.array(1, np.int64), np.array(0, np.int64)
    sizes = graph.op("Shape", INPUT)
    count, steps = (graph.op("Gather", sizes, np.array(k, np.int64), axis=0) for k in (0, 1))
    within = graph.op("Max", graph.op("Min", LENGTHS, steps), one)
    going = graph.op(
        "Less",
        graph.op("Unsqueeze", graph.op("Range", nothing, steps, one), np.array([1, 2], np.int64)),
        graph.op("Unsqueeze", LENGTHS, np.array([0, 2], np.int64)),
    )
    by_step = graph.op("Where", going, graph.op("Transpose", INPUT, perm=[1, 0, 2]), np.array(0, F32))
    frames = standardised(graph, Value(by_step, (layer.features_in,)), [2]).name
    rows = graph.op("Unsqueeze", count, np.array([0], np.int64))
    sizes = graph.op("Concat", rows, np.array([layer.units], np.int64), axis=0)
    zeros = graph.op("Expand", np.zeros((1, layer.units), F32), sizes)
    final, total = [], []
    for direction in layer.directions:
        name = f"layers.1.{WAYS[direction.backwards]}"
        read = frames
        if direction.backwards:
            read = graph.op("ReverseSequence", frames, within, batch_axis=1, time_axis=0)
        transposed = graph.op("Transpose", named(graph, direction.inputs.weight, f"{name}.inputs.weight"), perm=[1, 0])
        driven = _driven(graph, graph.op("MatMul", read, transposed), direction, name)
        states = _scan(graph, direction, layer, name, zeros, driven, going)
        final.append(states[0])
        total += states[1:]
    divisor = graph.op("Unsqueeze", graph.op("Cast", within, to=FLOAT), np.array([1], np.int64))
    means = [graph.op("Div", each, divisor) for each in total]
    width = _rest(graph, network, [*final, *means], layers, weight, bias)
    inputs = [_tensor(INPUT, FLOAT, STEPS, layer.features_in), _tensor(LENGTHS, INT64)]
    outputs = [_tensor(FEATURES, FLOAT, width), _tensor(LOGITS, FLOAT, len(bias))]
    about = "Recurrent SCFF network and linear readout in float32, on whole sequences"
    return graph.whole("scff_sequences", inputs, outputs, metadata, about)


def one_step(
    network: Network, layers: Sequence[int], weight: Tensor, bias: Tensor, metadata: Mapping[str, str]
) -> onnx.ModelProto:
    """A recurrent network of one direction and its readout, on one frame `x` `[N, F]` and what is carried.

    `state` `[N, units]` and, where means over time are read, `sum` `[N, units]` and `count` `[N]`, int64, go in as the
    last step's `new_state`, `new_sum` and `new_count` came out; before a sequence they are zeros. Features and logits
    are those of the sequence up to this frame.

    Args:
        network, layers, weight, bias: as in `whole_sequences`.
    """
    graph, layer = Graph(), recurrent_first(network)
    (direction,), units = layer.directions, layer.units
    assert not direction.backwards, "a direction that reads from the end was exported step by step"
    frames = standardised(graph, Value(INPUT, (layer.features_in,)))
    array = named(graph, direction.inputs.weight, "layers.1.forwards.inputs.weight")
    driven = _driven(graph, graph.op("Gemm", frames.name, array, transB=1), direction, "layers.1.forwards")
    found = _moved(graph, "state", driven, direction, "layers.1.forwards", units)
    states = [graph.op("Identity", found, name=CARRIED["state"])]
    inputs = [_tensor(INPUT, FLOAT, layer.features_in), _tensor("state", FLOAT, units)]
    carried = [_tensor(CARRIED["state"], FLOAT, units)]
    if layer.averages:
        total = graph.op("Add", "sum", found, name=CARRIED["sum"])
        count = graph.op("Add", "count", np.array([1], np.int64), name=CARRIED["count"])
        divisor = graph.op("Unsqueeze", graph.op("Cast", count, to=FLOAT), np.array([1], np.int64))
        states.append(graph.op("Div", total, divisor))
        inputs += [_tensor("sum", FLOAT, units), _tensor("count", INT64)]
        carried += [_tensor(total, FLOAT, units), _tensor(count, INT64)]
    width = _rest(graph, network, states, layers, weight, bias)
    outputs = [_tensor(FEATURES, FLOAT, width), _tensor(LOGITS, FLOAT, len(bias)), *carried]
    about = "Recurrent SCFF network and linear readout in float32, one frame at a time"
    return graph.whole("scff_step", inputs, outputs, metadata, about)


def _scan(
    graph: Graph, direction: Direction, layer: RecurrentLayer, name: str, zeros: str, driven: str, going: str
) -> list[str]:
    """The last states of a direction, and with `averages` their sums over time, each `[N, units]`.

    Args:
        driven: `[T, N, units]`, what drives each step but the state.
        going: bool `[T, N, 1]`, which sequences have not ended.
    """
    units = layer.units
    # weights in the body: not all readers look a name up outside of it
    body = Graph(prefix=f"{name}.")
    state, total, drive, mask = (f"{name}.{each}" for each in ("state", "sum", "driven", "going"))
    found = _moved(body, state, drive, direction, name, units)
    held = [body.op("Where", mask, found, state, name=f"{name}.new_state")]
    carried = [state]
    if layer.averages:
        held.append(body.op("Where", mask, body.op("Add", total, found), total, name=f"{name}.new_sum"))
        carried.append(total)
    step = helper.make_graph(
        body.nodes,
        f"{name}.step",
        [
            *(_tensor(each, FLOAT, units) for each in (*carried, drive)),
            _tensor(mask, TensorProto.BOOL, 1),
        ],
        [_tensor(each, FLOAT, units) for each in held],
        list(body.initialisers.values()),
    )
    outputs = [f"{name}.final", f"{name}.total"][: len(held)]
    graph.nodes.append(
        helper.make_node(
            "Scan",
            [*[zeros] * len(held), driven, going],
            outputs,
            name=f"{name}.scan",
            body=step,
            num_scan_inputs=2,
        )
    )
    return outputs


def _moved(graph: Graph, state: str, driven: str, direction: Direction, name: str, units: int) -> str:
    """The standardised states of the next step, `[N, units]`."""
    weight = named(graph, direction.hidden.weight, f"{name}.hidden.weight")
    z = graph.op("Add", driven, graph.op("Gemm", state, weight, transB=1))
    return standardised(graph, Value(graph.op("Relu", z), (units,))).name


def _driven(graph: Graph, u: str, direction: Direction, name: str) -> str:
    """What drives a step but the state: both halves of a pair, and both biases."""
    bias = named(graph, direction.inputs.bias + direction.hidden.bias, f"{name}.bias")
    return graph.op("Add", graph.op("Mul", u, np.array(2, F32)), bias)


def _rest(
    graph: Graph, network: Network, states: Sequence[str], layers: Sequence[int], weight: Tensor, bias: Tensor
) -> int:
    """The dense layers behind the states, and the readout; how many features it reads."""
    units = recurrent_first(network).units
    value = Value(graph.op("Concat", *states, axis=1), (units * len(states),))
    # states are standardised already, in each direction
    features = [value] if 0 in layers else []
    for index, layer in enumerate(feed_forward(Network(network.layers[1 : max(layers) + 1])), start=1):
        value = float_layer(graph, value, layer, f"layers.{index + 1}")
        if index in layers:
            features.append(float_features(graph, value, layer.readout_pool))
    return read_out(graph, features, weight, bias)


def _tensor(name: str, kind: int, *sizes: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, [BATCH, *sizes])
