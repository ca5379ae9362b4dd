"""A recurrent layer, in one direction or two: SCFF at every step, without a gradient through time.

A direction has two arrays, W for frames and U for the state, each with a bias that counts once. At step t it reads a
pair of frames (a, b), both standardised, as

    z_t = W a_t + W b_t + bias_W + U s_{t-1} + bias_U,     y_t = relu(z_t),     s_t = standardise(y_t),  s_{-1} = 0

As in `pairs`, W reads each frame once: with u = W x a positive pair (k, k) gets 2 u_k, a negative pair (k, n) gets
u_k + u_n. A negative pair lasts as long as its first half; once its second half has ended, that half contributes 0.
The second direction reads each sequence from its own last frame to its first.

Goodness is the mean of y^2 over the units of all directions, at every step. States are inputs like frames: the rule's
errors at z_t update W and U by outer products with the inputs of step t, and propagate no further. The rule treats each
step of each sequence as a sample of one position, so `penalty` weights the goodness of a step, where the paper uses the
norm over all steps of a sequence. Errors are summed over the steps of a sequence and averaged over sequences, so the
contribution of a step is independent of all sequence lengths: a chip can compute it at that step.

Source: paper, section 3.5 and appendix E.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from scff_hw.core.arrays import Optimisation, SynapticArray
from scff_hw.core.backend import Backend
from scff_hw.core.functional import standardise, wide
from scff_hw.core.geometry import Dense
from scff_hw.core.initial import initial_recurrent_weights
from scff_hw.core.layer import Telemetry
from scff_hw.core.packing import Packing, check_lengths
from scff_hw.core.pairs import Partners, Stream
from scff_hw.core.random import generator
from scff_hw.core.rules import Rule, Signals
from scff_hw.core.shapes import DIRECTIONS
from scff_hw.errors import UsageError


@dataclass(frozen=True)
class Direction:
    """One direction of a recurrent layer.

    Attributes:
        inputs: W, input weights, `Dense(features, units)`.
        hidden: U, recurrent weights, `Dense(units, units)`.
        backwards: reads sequences from the last frame to the first.
    """

    inputs: SynapticArray
    hidden: SynapticArray
    backwards: bool = False

    @property
    def arrays(self) -> dict[str, SynapticArray]:
        """Both arrays keyed by name, e.g. forwards.hidden."""
        way = DIRECTIONS[self.backwards]
        return {f"{way}.inputs": self.inputs, f"{way}.hidden": self.hidden}


@dataclass(frozen=True)
class RecurrentLayer:
    """A recurrent layer; its directions share only the goodness.

    Attributes:
        directions: one or two, with equal numbers of features and of units.
        rule: learning rule; None for a layer that does not learn.
        averages: the output also contains the means of the states over time, after the last states.

    Raises:
        UsageError: no direction, or arrays with mismatched shapes.
    """

    directions: tuple[Direction, ...]
    rule: Rule | None = None
    averages: bool = False
    makes_pairs = True

    def __post_init__(self) -> None:
        check_directions(self.directions)

    @property
    def arrays(self) -> dict[str, SynapticArray]:
        """The arrays of all directions keyed by name, e.g. forwards.inputs."""
        return {name: array for direction in self.directions for name, array in direction.arrays.items()}

    @property
    def features_in(self) -> int:
        """Number of values per frame, F."""
        return self.directions[0].inputs.geometry.inputs

    @property
    def units(self) -> int:
        """Number of units per direction."""
        return self.directions[0].inputs.geometry.outputs

    def learn(
        self, stream: Stream, partners: Partners | None, generator: torch.Generator | None = None
    ) -> tuple[Telemetry, Callable[[bool], Stream]]:
        """Update each array once, from all steps of a batch.

        Args:
            stream: `positive` `[N, T, F]`, floating point, not read past the end of a sequence; `lengths` int64
                `[N]`, in 1..T.
            partners: the negative partner of each sequence.
            generator: not used; convolutional layers draw positions with it.
        Returns:
            The telemetry, and a function that computes the pre-update output of `forward`.

        Raises:
            UsageError: invalid shapes or lengths.
        """
        assert self.rule is not None, "learn() needs a layer with a rule"
        assert partners is not None, "a recurrent layer makes its pairs, so it needs partners"
        packing, frames = self._packed(stream)
        others = packing.partner_rows(partners)
        z, traces = self._unrolled(frames, packing, others)
        errors = self.rule.errors(Signals(frames, z[:, 0], z[:, 1]))
        # the rule averages over all steps of all sequences
        share = len(frames) / len(packing.order)
        parts = zip(errors.positive.split(self.units, 1), errors.negative.split(self.units, 1), strict=True)
        paired, dead = (others < len(frames)).nonzero()[:, 0], []
        for direction, trace, (positive, negative) in zip(self.directions, traces, parts, strict=True):
            at_hidden = torch.stack((positive, negative), dim=1).flatten(0, 1).mul_(share)
            positive, negative = at_hidden[::2], at_hidden[1::2]
            at_inputs = torch.add(negative, positive, alpha=2).index_add_(0, others[paired], negative[paired])
            at_bias = at_hidden.sum(dim=0)
            direction.inputs.update(frames, at_inputs, at_bias)
            direction.hidden.update(trace.read.flatten(0, 1), at_hidden, at_bias)
            dead.append(at_bias == 0)
        dead_units = torch.cat(dead).to(z.dtype).mean()
        telemetry = Telemetry(errors.goodness_positive, errors.goodness_negative, errors.loss, dead_units)
        return telemetry, lambda negative: self._output(packing, traces, negative)

    def forward(self, stream: Stream, partners: Partners | None = None) -> Stream:
        """Return the standardised last states of all directions for each sequence, paired with itself.

        Args:
            stream: as in `learn`.
            partners: if given, the output includes the states of the negative pairs.
        Returns:
            `[N, D units]`, in the order of the D directions; with `averages` `[N, 2 D units]`.
        """
        packing, frames = self._packed(stream)
        _, traces = self._unrolled(frames, packing, None if partners is None else packing.partner_rows(partners))
        return self._output(packing, traces, partners is not None)

    def features(self, output: Tensor) -> Tensor:
        """Return the readout features: the output itself, since states are standardised in each direction."""
        return output

    def _output(self, packing: Packing, traces: list[Trace], negative: bool) -> Stream:
        parts = [trace.final for trace in traces] + ([trace.mean for trace in traces] if self.averages else [])
        states = torch.cat(parts, dim=2).index_select(0, packing.rank)
        return Stream(states[:, 0], states[:, 1] if negative else None)

    def _unrolled(self, frames: Tensor, packing: Packing, others: Tensor | None = None) -> tuple[Tensor, list[Trace]]:
        """Return pre-activations `[M, P, D units]` and traces of D directions; P is 2 with negative pairs, else 1."""
        passes = [unroll(direction, input_drive(direction, frames, others), packing) for direction in self.directions]
        return torch.cat([z for z, _ in passes], dim=2), [trace for _, trace in passes]

    def _packed(self, stream: Stream) -> tuple[Packing, Tensor]:
        packing, frames = packed(stream, self.features_in)
        return packing, standardise(frames)


def check_directions(directions: Sequence[Direction]) -> None:
    """Check that `directions` can form one layer.

    Raises:
        UsageError: there is no direction, or array shapes do not match.
    """
    if not directions:
        raise UsageError("A recurrent layer must have at least one direction. Got none instead.")
    first = directions[0].inputs.geometry
    expected = Dense(first.inputs, first.outputs), Dense(first.outputs, first.outputs)
    for direction in directions:
        geometries = direction.inputs.geometry, direction.hidden.geometry
        if geometries != expected:
            raise UsageError(
                f"The arrays of a recurrent layer must be {expected[0]} and {expected[1]} in each direction. "
                f"Got {geometries[0]} and {geometries[1]} instead."
            )


def packed(stream: Stream, features: int) -> tuple[Packing, Tensor]:
    """Return the packing of a stream's sequences, and their raw frames `[M, features]`.

    Raises:
        UsageError: invalid shapes or lengths.
    """
    x, lengths = stream.positive, stream.lengths
    if x.dim() != 3 or x.shape[2] != features or 0 in x.shape or not x.is_floating_point():
        raise UsageError(
            f"The input of this recurrent layer must be floating point of shape [N, T, {features}], N and "
            f"T at least 1. Got {x.dtype} of shape {list(x.shape)} instead."
        )
    if lengths is None:
        raise UsageError("A recurrent layer must be given the lengths of its sequences. Got none instead.")
    check_lengths(lengths, *x.shape[:2])
    packing = Packing.of(lengths.to(x.device))
    return packing, packing.pack(x)


@dataclass(frozen=True)
class Trace:
    """States of one direction in an unrolled pass; P is 2 with negative pairs, else 1.

    Attributes:
        read: `[M, P, units]`, the states that U read.
        final: `[N, P, units]`, the last states, in the order of the packing.
        mean: `[N, P, units]`, means of the states over time, in the order of the packing.
    """

    read: Tensor
    final: Tensor
    mean: Tensor


def unroll(direction: Direction, drive: Tensor, packing: Packing) -> tuple[Tensor, Trace]:
    """Compute all steps from the input drive `[M, P, units]`; return the pre-activations, same shape, and the trace.

    No tensor is modified in place, so autograd can differentiate the pass; a control method learns with it.
    """
    states = total = drive.new_zeros(len(packing.order), *drive.shape[1:])
    parts = drive.split(packing.counts)
    read, z = list(parts), list(parts)
    steps = range(len(parts))
    for step in reversed(steps) if direction.backwards else steps:
        count = packing.counts[step]
        active = read[step] = states[:count]
        z[step] = parts[step] + wide(direction.hidden.mvm(active.flatten(0, 1))).view_as(active)
        new = standardise(torch.relu(z[step]).flatten(0, 1)).view_as(active)
        states, total = torch.cat((new, states[count:])), torch.cat((total[:count] + new, total[count:]))
    return torch.cat(z), Trace(torch.cat(read), states, total / packing.lengths.view(-1, 1, 1))


def input_drive(direction: Direction, frames: Tensor, others: Tensor | None) -> Tensor:
    """Return the input drive `[M, P, units]`: W times the frames of each pair, plus both biases; a new tensor."""
    bias = direction.inputs.bias + direction.hidden.bias
    u = wide(direction.inputs.mvm(frames))
    positive = torch.add(bias, u, alpha=2)
    if others is None:
        return positive.unsqueeze(1)
    padded = torch.cat((u, u.new_zeros(1, u.shape[1])))  # row M is 0: the partner has ended
    return torch.stack((positive, padded.index_select(0, others).add_(u).add_(bias)), dim=1)


def recurrent_geometries(features: int, units: int, both: bool) -> dict[str, Dense]:
    """Return the geometries of a recurrent layer's arrays by name, e.g. forwards.inputs; `both`: two directions."""
    return {
        f"{way}.{part}": Dense(inputs, units)
        for way in DIRECTIONS[: 1 + both]
        for part, inputs in (("inputs", features), ("hidden", units))
    }


def make_directions(
    backend: Backend,
    features: int,
    units: int,
    optimisation: Optimisation,
    seed: int,
    *,
    both: bool = True,
    name: str = "layers.1",
) -> tuple[Direction, ...]:
    """Make the directions of a recurrent layer on `backend`, with initial weights that depend on `seed` alone.

    All weights and biases are uniform within 1 / sqrt(units).

    Args:
        both: add a second direction, backwards.
        name: name of the layer, the prefix of its arrays' names, e.g. layers.1.forwards.hidden.
    """
    arrays: dict[str, SynapticArray] = {}
    for part, geometry in recurrent_geometries(features, units, both).items():
        full = f"{name}.{part}"
        weight, bias = initial_recurrent_weights(geometry, units, generator(seed, "init", *full.split(".")))
        arrays[part] = backend.array(weight, bias, geometry, optimisation, name=full)
    return tuple(
        Direction(arrays[f"{way}.inputs"], arrays[f"{way}.hidden"], way == "backwards")
        for way in DIRECTIONS[: 1 + both]
    )
