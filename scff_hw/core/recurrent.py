"""A recurrent layer, in one direction or two: SCFF at every step, without a gradient through time.

A direction has two arrays, W for the frames and U for the state it carries, each with a bias that counts once. At
step t it reads a pair of frames (a, b), both standardised, as

    z_t = W a_t + W b_t + bias_W + U s_{t-1} + bias_U,     y_t = relu(z_t),     s_t = standardise(y_t),  s_{-1} = 0

As in `streams`, W reads each frame once: with u = W x a positive pair (k, k) gets 2 u_k, a negative pair (k, n) gets
u_k + u_n. A negative pair lasts as long as its first half; where its other half has ended, that half is silent.
The second direction reads each sequence from its own last frame to its first.

Goodness is the mean of y^2 over the units of all directions, at every step. States are inputs like frames: the rule's
errors at z_t change W and U by products with what was read at step t, and go nowhere else. To the rule every step of
every sequence is a sample of one position, so `penalty` weighs the goodness of a step where the paper has the norm
over all steps of a sequence. Errors are summed over the steps of a sequence and averaged over sequences, so that what
a step contributes does not depend on how long its own or other sequences are: a chip knows it as it hears it.

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
from scff_hw.core.random import generator
from scff_hw.core.rules import Rule, Signals
from scff_hw.core.shapes import DIRECTIONS
from scff_hw.core.streams import Partners, Stream
from scff_hw.errors import UsageError


@dataclass(frozen=True)
class Direction:
    """One recurrent network of a layer.

    Attributes:
        inputs: `Dense(features, units)`, reads frames.
        hidden: `Dense(units, units)`, reads states.
        backwards: reads sequences from their ends.
    """

    inputs: SynapticArray
    hidden: SynapticArray
    backwards: bool = False

    @property
    def arrays(self) -> dict[str, SynapticArray]:
        """Both arrays by name, e.g. forwards.hidden."""
        way = DIRECTIONS[self.backwards]
        return {f"{way}.inputs": self.inputs, f"{way}.hidden": self.hidden}


@dataclass(frozen=True)
class RecurrentLayer:
    """One direction, or several that share nothing but their goodness.

    Attributes:
        directions: of the same numbers of features and units.
        rule: None for a layer that does not learn.
        averages: passes on the means of the states over time too, behind the last ones.

    Raises:
        UsageError: no direction, or arrays that do not fit each other.
    """

    directions: tuple[Direction, ...]
    rule: Rule | None = None
    averages: bool = False
    makes_pairs = True

    def __post_init__(self) -> None:
        check_directions(self.directions)

    @property
    def arrays(self) -> dict[str, SynapticArray]:
        """The arrays of all directions by name, e.g. forwards.inputs."""
        return {name: array for direction in self.directions for name, array in direction.arrays.items()}

    @property
    def features_in(self) -> int:
        """Values a frame."""
        return self.directions[0].inputs.geometry.inputs

    @property
    def units(self) -> int:
        """Units of each direction."""
        return self.directions[0].inputs.geometry.outputs

    def learn(
        self, stream: Stream, partners: Partners | None, generator: torch.Generator | None = None
    ) -> tuple[Telemetry, Callable[[bool], Stream]]:
        """Change every array once, from all steps of a batch.

        Args:
            stream: `positive` `[N, T, F]`, floating point, of which nothing behind the end of a sequence is read;
                `lengths` int64 `[N]`, in 1..T.
            partners: who is whose negative.
            generator: not used; other layers draw positions.
        Returns:
            Figures of the batch, and how to obtain what `forward` gave before the update.

        Raises:
            UsageError: shapes or lengths that do not fit.
        """
        assert self.rule is not None, "a layer without a rule was asked to learn"
        assert partners is not None, "a recurrent layer makes its pairs but was given no partners"
        packing, frames = self._packed(stream)
        others = packing.partner_rows(partners)
        z, traces = self._walked(frames, packing, others)
        errors = self.rule.errors(Signals(frames, z[:, 0], z[:, 1]))
        # the rule averages over all steps of all sequences
        share = len(frames) / len(packing.order)
        parts = zip(errors.positive.split(self.units, 1), errors.negative.split(self.units, 1), strict=True)
        paired, silent = (others < len(frames)).nonzero()[:, 0], []
        for direction, trace, (positive, negative) in zip(self.directions, traces, parts, strict=True):
            at_hidden = torch.stack((positive, negative), dim=1).flatten(0, 1).mul_(share)
            positive, negative = at_hidden[::2], at_hidden[1::2]
            at_inputs = torch.add(negative, positive, alpha=2).index_add_(0, others[paired], negative[paired])
            at_bias = at_hidden.sum(dim=0)
            direction.inputs.update(frames, at_inputs, at_bias)
            direction.hidden.update(trace.read.flatten(0, 1), at_hidden, at_bias)
            silent.append(at_bias == 0)
        dead = torch.cat(silent).to(z.dtype).mean()
        telemetry = Telemetry(errors.goodness_positive, errors.goodness_negative, errors.loss, dead)
        return telemetry, lambda negative: self._left(packing, traces, negative)

    def forward(self, stream: Stream, partners: Partners | None = None) -> Stream:
        """The standardised states in which each sequence, paired with itself, leaves the directions.

        Args:
            stream: as in `learn`.
            partners: give the states of the negative pairs too.
        Returns:
            `[N, D units]`, the first direction's first; with `averages` `[N, 2 D units]`.
        """
        packing, frames = self._packed(stream)
        _, traces = self._walked(frames, packing, None if partners is None else packing.partner_rows(partners))
        return self._left(packing, traces, partners is not None)

    def features(self, output: Tensor) -> Tensor:
        """What the readout reads of what is passed on: itself, for states are standardised in each direction."""
        return output

    def _left(self, packing: Packing, traces: list[Trace], negative: bool) -> Stream:
        parts = [trace.final for trace in traces] + ([trace.mean for trace in traces] if self.averages else [])
        states = torch.cat(parts, dim=2).index_select(0, packing.place)
        return Stream(states[:, 0], states[:, 1] if negative else None)

    def _walked(self, frames: Tensor, packing: Packing, others: Tensor | None = None) -> tuple[Tensor, list[Trace]]:
        """Pre-activations of all directions, `[M, P, D units]`; P is 2 where negative pairs are read too, else 1."""
        found = [unroll(direction, input_drive(direction, frames, others), packing) for direction in self.directions]
        return torch.cat([z for z, _ in found], dim=2), [trace for _, trace in found]

    def _packed(self, stream: Stream) -> tuple[Packing, Tensor]:
        packing, frames = packed(stream, self.features_in)
        return packing, standardise(frames)


def check_directions(directions: Sequence[Direction]) -> None:
    """Refuse directions that do not make a layer.

    Raises:
        UsageError: there is none, or arrays do not fit each other.
    """
    if not directions:
        raise UsageError("A recurrent layer must have at least one direction. Got none instead.")
    first = directions[0].inputs.geometry
    expected = Dense(first.inputs, first.outputs), Dense(first.outputs, first.outputs)
    for direction in directions:
        found = direction.inputs.geometry, direction.hidden.geometry
        if found != expected:
            raise UsageError(
                f"The arrays of a recurrent layer must be {expected[0]} and {expected[1]} in each direction. "
                f"Got {found[0]} and {found[1]} instead."
            )


def packed(stream: Stream, features: int) -> tuple[Packing, Tensor]:
    """How the sequences of a stream are packed, and their raw frames `[M, features]`.

    Raises:
        UsageError: shapes or lengths that do not fit.
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
    """What a direction went through.

    Attributes:
        read: `[M, P, units]`, the states that U read.
        final: `[N, P, units]`, the last states, in the order of the packing.
        mean: of the states over time, likewise.
    """

    read: Tensor
    final: Tensor
    mean: Tensor


def unroll(direction: Direction, driven: Tensor, packing: Packing) -> tuple[Tensor, Trace]:
    """Go through all steps, adding what the states drive to what frames drive, `[M, P, units]`.

    No tensor is changed in place, so that autograd, which a control learns by, can follow.
    """
    states = total = driven.new_zeros(len(packing.order), *driven.shape[1:])
    parts = driven.split(packing.counts)
    read, z = list(parts), list(parts)
    steps = range(len(parts))
    for step in reversed(steps) if direction.backwards else steps:
        count = packing.counts[step]
        going = read[step] = states[:count]
        z[step] = parts[step] + wide(direction.hidden.mvm(going.flatten(0, 1))).view_as(going)
        found = standardise(torch.relu(z[step]).flatten(0, 1)).view_as(going)
        states, total = torch.cat((found, states[count:])), torch.cat((total[:count] + found, total[count:]))
    return torch.cat(z), Trace(torch.cat(read), states, total / packing.lengths.view(-1, 1, 1))


def input_drive(direction: Direction, frames: Tensor, others: Tensor | None) -> Tensor:
    """What drives each step but the state: frames through W, and both biases; `[M, P, units]`, a new tensor."""
    bias = direction.inputs.bias + direction.hidden.bias
    u = wide(direction.inputs.mvm(frames))
    positive = torch.add(bias, u, alpha=2)
    if others is None:
        return positive.unsqueeze(1)
    silence = torch.cat((u, u.new_zeros(1, u.shape[1])))
    return torch.stack((positive, silence.index_select(0, others).add_(u).add_(bias)), dim=1)


def recurrent_geometries(features: int, units: int, both: bool) -> dict[str, Dense]:
    """The arrays of a recurrent layer by name, e.g. forwards.inputs."""
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
    """Arrays of a recurrent layer on `backend`, with initial weights that depend on `seed` alone.

    All weights and biases are uniform within 1 / sqrt(units).

    Args:
        both: a second direction, that reads sequences from their ends.
        name: tells the layer's arrays from those of others, e.g. layers.1.forwards.hidden.
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
