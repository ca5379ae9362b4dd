"""The graphs of a recurrent network: whole sequences at once, and one frame at a time.

Both contain a recurrent layer at inference, each frame paired with itself, and the layers after it, in numbers of one
kind (`Arithmetic`). Whole sequences run in ONNX's Scan, one node per direction, whose body is one step. The input drive
of the second direction is reversed by ReverseSequence, each sequence within its own length, so that in both directions
a sequence fills the first steps. In later steps the input is replaced by zeros, and states do not change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from scff_hw.core.shapes import DIRECTIONS
from scff_hw.export.onnx.dependencies import TensorProto, helper, onnx
from scff_hw.export.onnx.graph import BATCH, INPUT, LENGTHS, STEPS, Graph

CARRIED = {"state": "new_state", "sum": "new_sum", "count": "new_count"}
"""State inputs of a step, zeros before a sequence, and the outputs that are the next step's inputs."""

F32 = np.float32
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


class Arithmetic(Protocol):
    """A recurrent network and its readout in numbers of one kind, as nodes of a graph.

    Values between the methods are float32, also for integers.

    Attributes:
        about: description of the kind of numbers.
        features_in: values per frame.
        units: per direction.
        backwards: for each direction, whether it reads sequences from the end.
        averages: the output also contains the mean states over time, after the last states.
        state_kind, sum_kind: element types of the states and their sums between steps.
    """

    @property
    def about(self) -> str: ...
    @property
    def features_in(self) -> int: ...
    @property
    def units(self) -> int: ...
    @property
    def backwards(self) -> tuple[bool, ...]: ...
    @property
    def averages(self) -> bool: ...
    @property
    def state_kind(self) -> int: ...
    @property
    def sum_kind(self) -> int: ...

    def frames(self, graph: Graph, x: str) -> str:
        """Return the frames `[M, features_in]`, standardised for the arrays."""
        ...

    def input_drive(self, graph: Graph, frames: str, direction: int) -> str:
        """Return the input drive of each step, all biases included, without the recurrent part, `[M, units]`."""
        ...

    def next_state(self, graph: Graph, state: str, drive: str, direction: int) -> str:
        """Return the standardised states `[N, units]` of the next step."""
        ...

    def read_out(
        self, graph: Graph, final: Sequence[str], total: Sequence[str], steps: str
    ) -> list[onnx.ValueInfoProto]:
        """Add the dense layers and the readout; returns the outputs, features and logits.

        Args:
            final: the last states of each direction, `[N, units]`.
            total: with `averages`, the sums of the states over time.
            steps: int64 `[N]`, the number of steps in these sums.
        """
        ...


def direction_name(backwards: bool) -> str:
    """Return the name prefix of a direction's arrays."""
    return f"layers.1.{DIRECTIONS[backwards]}"


def whole_sequences(network: Arithmetic, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """Return a recurrent network and its readout on sequences `x` `[N, T, F]`, float32, with `lengths` `[N]`, int64.

    T is at least 1. A length above T counts as T; a length of 0 or below is an empty sequence, whose states are the
    initial zeros.
    """
    graph = Graph()
    one, zero, first = np.array(1, np.int64), np.array(0, np.int64), np.array([0], np.int64)
    units = np.array([network.units], np.int64)
    sizes = graph.op("Shape", INPUT)
    count, steps = (graph.op("Gather", sizes, np.array(k, np.int64), axis=0) for k in (0, 1))
    within = graph.op("Max", graph.op("Min", LENGTHS, steps), one)
    active = graph.op(
        "Less",
        graph.op("Unsqueeze", graph.op("Range", zero, steps, one), np.array([1, 2], np.int64)),
        graph.op("Unsqueeze", LENGTHS, np.array([0, 2], np.int64)),
    )
    by_step = graph.op("Where", active, graph.op("Transpose", INPUT, perm=[1, 0, 2]), np.array(0, F32))
    rows = graph.op("Reshape", by_step, np.array([-1, network.features_in], np.int64))
    frames = network.frames(graph, rows)
    batch = graph.op("Unsqueeze", count, first)
    zeros = graph.op("Expand", np.zeros((1, network.units), F32), graph.op("Concat", batch, units, axis=0))
    sides = graph.op("Concat", graph.op("Unsqueeze", steps, first), batch, units, axis=0)
    final, total = [], []
    for direction, backwards in enumerate(network.backwards):
        drive = graph.op("Reshape", network.input_drive(graph, frames, direction), sides)
        if backwards:
            drive = graph.op("ReverseSequence", drive, within, batch_axis=1, time_axis=0)
        states = _scan(graph, network, direction, zeros, drive, active)
        final.append(states[0])
        total += states[1:]
    outputs = network.read_out(graph, final, total, within)
    inputs = [tensor(INPUT, FLOAT, STEPS, network.features_in), tensor(LENGTHS, INT64)]
    about = f"Recurrent SCFF network and linear readout in {network.about}, on whole sequences"
    return graph.whole("scff_sequences", inputs, outputs, metadata, about)


def one_step(network: Arithmetic, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """A recurrent network of one direction and its readout, on one frame `x` `[N, F]` and the state of the sequence.

    The inputs `state` `[N, units]` and, with `averages`, `sum` `[N, units]` and `count` `[N]`, int64, are the outputs
    `new_state`, `new_sum` and `new_count` of the last step; before a sequence they are zeros. Features and logits are
    those of the sequence up to this frame.
    """
    assert network.backwards == (False,), "a direction that reads from the end was exported step by step"
    graph, units = Graph(), network.units
    kinds = {"state": network.state_kind, "sum": network.sum_kind}
    state = graph.op("Cast", "state", to=FLOAT)
    drive = network.input_drive(graph, network.frames(graph, INPUT), 0)
    new = {"state": network.next_state(graph, state, drive, 0)}
    count = graph.op("Add", "count", np.array([1], np.int64), name=CARRIED["count"]) if network.averages else ""
    if network.averages:
        new["sum"] = graph.op("Add", graph.op("Cast", "sum", to=FLOAT), new["state"])
    outputs = network.read_out(graph, [new["state"]], [new["sum"]] if count else [], count)
    inputs = [tensor(INPUT, FLOAT, network.features_in)]
    for name, value in new.items():
        inputs.append(tensor(name, kinds[name], units))
        outputs.append(tensor(graph.op("Cast", value, name=CARRIED[name], to=kinds[name]), kinds[name], units))
    if count:
        inputs.append(tensor("count", INT64))
        outputs.append(tensor(count, INT64))
    about = f"Recurrent SCFF network and linear readout in {network.about}, one frame at a time"
    return graph.whole("scff_step", inputs, outputs, metadata, about)


def tensor(name: str, kind: int, *sizes: int | str) -> onnx.ValueInfoProto:
    """Return an input or output `[N, *sizes]`."""
    return helper.make_tensor_value_info(name, kind, [BATCH, *sizes])


def _scan(graph: Graph, network: Arithmetic, direction: int, zeros: str, drive: str, active: str) -> list[str]:
    """Return the last states of a direction, and with `averages` their sums over time, each `[N, units]`.

    Args:
        drive: input drive, `[T, N, units]`.
        active: bool `[T, N, 1]`, True while a sequence has not ended.
    """
    units, name = network.units, direction_name(network.backwards[direction])
    # weights are in the body: not all readers look up names outside of it
    body = Graph(prefix=f"{name}.")
    state, total, step_drive, mask = (f"{name}.{suffix}" for suffix in ("state", "sum", "driven", "going"))
    new_state = network.next_state(body, state, step_drive, direction)
    new = [body.op("Where", mask, new_state, state, name=f"{name}.new_state")]
    carried = [state]
    if network.averages:
        new.append(body.op("Where", mask, body.op("Add", total, new_state), total, name=f"{name}.new_sum"))
        carried.append(total)
    step = helper.make_graph(
        body.nodes,
        f"{name}.step",
        [
            *(tensor(value, FLOAT, units) for value in (*carried, step_drive)),
            tensor(mask, TensorProto.BOOL, 1),
        ],
        [tensor(value, FLOAT, units) for value in new],
        list(body.initialisers.values()),
    )
    outputs = [f"{name}.final", f"{name}.total"][: len(new)]
    graph.nodes.append(
        helper.make_node(
            "Scan",
            [*[zeros] * len(new), drive, active],
            outputs,
            name=f"{name}.scan",
            body=step,
            num_scan_inputs=2,
        )
    )
    return outputs
