"""A recurrent layer, in one direction or two: SCFF at every step, without a gradient through time.

A direction has two arrays, W for the frames and U for the state it carries, each with a bias that counts once. At
step t it reads a pair of frames (a, b), both standardised, as

    z_t = W a_t + W b_t + bias_W + U s_{t-1} + bias_U,     y_t = relu(z_t),     s_t = standardise(y_t),  s_{-1} = 0

As in `streams`, W reads each frame once: with u = W x a positive pair (k, k) gets 2 u_k, a negative pair (k, n) gets
u_k + u_n. A negative pair lasts as long as its first half; where its other half has ended, that half is silent.
The second direction reads each sequence from its own last frame to its first.

Goodness is the mean of y^2 over the units of all directions, at every step. States are inputs like frames: the rule's
errors at z_t change W and U by products with what was read at step t, and go nowhere else. To the rule every step of
every sequence is a sample of one position, so averages are over all steps of a batch, and `penalty` weighs the
goodness of a step where the paper has the norm over all steps of a sequence.

Source: paper, section 3.5 and appendix E.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from scff_hw.backends.protocol import Backend, Dense, Optimisation, OwnArithmetic, SynapticArray
from scff_hw.core.functional import standardise, wide
from scff_hw.core.initial import initial_recurrent_weights
from scff_hw.core.layer import Telemetry
from scff_hw.core.packing import Packing, check_lengths
from scff_hw.core.random import generator
from scff_hw.core.rules import Rule, Signals
from scff_hw.core.streams import Partners
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


@dataclass(frozen=True)
class RecurrentLayer:
    """One direction, or several that share nothing but their goodness.

    Attributes:
        directions: of the same numbers of features and units.
        rule: None for a layer that does not learn.

    Raises:
        UsageError: no direction, or arrays that do not fit each other.
    """

    directions: tuple[Direction, ...]
    rule: Rule | None = None

    def __post_init__(self) -> None:
        if not self.directions:
            raise UsageError("A recurrent layer must have at least one direction. Got none instead.")
        expected = Dense(self.features, self.units), Dense(self.units, self.units)
        for direction in self.directions:
            found = direction.inputs.geometry, direction.hidden.geometry
            if found != expected:
                raise UsageError(
                    f"The arrays of a recurrent layer must be {expected[0]} and {expected[1]} in each direction. "
                    f"Got {found[0]} and {found[1]} instead."
                )

    @property
    def features(self) -> int:
        """Values a frame."""
        return self.directions[0].inputs.geometry.inputs

    @property
    def units(self) -> int:
        """Units of each direction."""
        return self.directions[0].inputs.geometry.outputs

    def learn(self, x: Tensor, lengths: Tensor, partners: Partners) -> Telemetry:
        """Change every array once, from all steps of a batch.

        Args:
            x: `[N, T, F]`, floating point; what lies behind the end of a sequence is never read.
            lengths: int64 `[N]`, in 1..T.
            partners: who is whose negative.

        Raises:
            UsageError: shapes or lengths that do not fit.
        """
        assert self.rule is not None, "a layer without a rule was asked to learn"
        packing, frames = self._packed(x, lengths)
        others = packing.partner_rows(partners)
        z, traces = self._run(frames, packing, others)
        errors = self.rule.errors(Signals(frames, z[:, 0], z[:, 1]))
        parts = zip(errors.positive.split(self.units, 1), errors.negative.split(self.units, 1), strict=True)
        paired, silent = (others < len(frames)).nonzero()[:, 0], []
        for direction, trace, (positive, negative) in zip(self.directions, traces, parts, strict=True):
            at_hidden = torch.stack((positive, negative), dim=1).flatten(0, 1)
            at_inputs = torch.add(negative, positive, alpha=2).index_add_(0, others[paired], negative[paired])
            at_bias = at_hidden.sum(dim=0)
            direction.inputs.update(frames, at_inputs, at_bias)
            direction.hidden.update(trace.read.flatten(0, 1), at_hidden, at_bias)
            silent.append(at_bias == 0)
        dead = torch.cat(silent).to(z.dtype).mean()
        return Telemetry(errors.goodness_positive, errors.goodness_negative, errors.loss, dead)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """The standardised states in which each sequence, paired with itself, leaves the directions.

        Args:
            x, lengths: as in `learn`.
        Returns:
            `[N, D units]`, the first direction's first.
        """
        packing, frames = self._packed(x, lengths)
        _, traces = self._run(frames, packing)
        return torch.cat([trace.final[:, 0] for trace in traces], dim=1).index_select(0, packing.place)

    def _run(self, frames: Tensor, packing: Packing, others: Tensor | None = None) -> tuple[Tensor, list[_Trace]]:
        """Pre-activations of all directions, `[M, P, D units]`; P is 2 where negative pairs are read too, else 1."""
        driven = [_driven(direction, frames, others) for direction in self.directions]
        z = driven[0] if len(driven) == 1 else torch.cat(driven, dim=2)
        parts = z.split(self.units, dim=2)
        return z, [_run(direction, part, packing) for direction, part in zip(self.directions, parts, strict=True)]

    def _packed(self, x: Tensor, lengths: Tensor) -> tuple[Packing, Tensor]:
        if x.dim() != 3 or x.shape[2] != self.features or 0 in x.shape or not x.is_floating_point():
            raise UsageError(
                f"The input of this recurrent layer must be floating point of shape [N, T, {self.features}], N and T "
                f"at least 1. Got {x.dtype} of shape {list(x.shape)} instead."
            )
        check_lengths(lengths, *x.shape[:2])
        packing = Packing.of(lengths.to(x.device))
        return packing, standardise(packing.pack(x))


@dataclass(frozen=True)
class _Trace:
    """What a direction went through.

    Attributes:
        read: `[M, P, units]`, the states that U read.
        final: `[N, P, units]`, the last states, in the order of the packing.
    """

    read: Tensor
    final: Tensor


def _run(direction: Direction, z: Tensor, packing: Packing) -> _Trace:
    """Go through all steps, adding what the states drive to `z` `[M, P, units]`, which holds what frames drive."""
    read = torch.empty(z.shape, dtype=z.dtype, device=z.device)
    states = read.new_zeros(len(packing.order), *z.shape[1:])
    steps = range(len(packing.counts))
    for step in reversed(steps) if direction.backwards else steps:
        rows, going = packing.rows(step), states[: packing.counts[step]]
        read[rows] = going
        z[rows] += wide(direction.hidden.mvm(going.flatten(0, 1))).view_as(going)
        going.copy_(standardise(torch.relu(z[rows]).flatten(0, 1)).view_as(going))
    return _Trace(read, states)


def _driven(direction: Direction, frames: Tensor, others: Tensor | None) -> Tensor:
    """What drives each step but the state: frames through W, and both biases; `[M, P, units]`, a new tensor."""
    bias = direction.inputs.bias + direction.hidden.bias
    u = wide(direction.inputs.mvm(frames))
    positive = torch.add(bias, u, alpha=2)
    if others is None:
        return positive.unsqueeze(1)
    silence = torch.cat((u, u.new_zeros(1, u.shape[1])))
    return torch.stack((positive, silence.index_select(0, others).add_(u).add_(bias)), dim=1)


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

    Raises:
        UsageError: a backend with an arithmetic of its own, which this layer does not compute in.
    """
    if isinstance(backend, OwnArithmetic):
        raise UsageError(f"A recurrent layer computes in floating point. Got the backend '{backend.name}' instead.")
    made = []
    for way in ("forwards", "backwards")[: 1 + both]:
        arrays = []
        for part, inputs in (("inputs", features), ("hidden", units)):
            geometry = Dense(inputs, units)
            weight, bias = initial_recurrent_weights(geometry, units, generator(seed, "init", name, way, part))
            arrays.append(backend.array(weight, bias, geometry, optimisation, name=f"{name}.{way}.{part}"))
        made.append(Direction(*arrays, backwards=way == "backwards"))
    return tuple(made)
