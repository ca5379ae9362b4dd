"""A recurrent layer that hears one frame of one sequence at a time, as a chip beside a microphone does.

What `recurrent` computes from whole batches, with memory that does not grow with the length of a sequence. For
inference that is the state and, for means over time, its sum. For learning it is the states of a positive and a
negative pair, and the sums of outer products

    G_W = sum over steps of  (2 d_pos + d_neg) a^T + d_neg b^T
    G_U = sum over steps of  d_pos s_pos^T + d_neg s_neg^T

with `a` a frame of the sequence, `b` the frame of its partner at the same step (0 where that has ended), `d` the errors
that the rule gives at this very step, and `s` the states read at it. After the last sequence of a batch each array
changes once. The partner is heard beside the sequence, so W reads two frames a step where a batch reads each once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from scff_hw.core.functional import standardise, wide
from scff_hw.core.layer import Telemetry
from scff_hw.core.recurrent import RecurrentLayer
from scff_hw.core.rules import Signals
from scff_hw.errors import UsageError


@dataclass
class _Heard:
    """Of the sequence now going on; `states` and `total` are `[P, units]`, P is 2 where it is learned from, else 1."""

    states: Tensor
    total: Tensor
    steps: int = 0
    partner_ended: bool = False


@dataclass
class _Sums:
    """Of a batch: outer products `[units, inputs]` and `[units, units]`, errors `[units]`, and figures `[3]`."""

    inputs: Tensor
    hidden: Tensor
    bias: Tensor
    figures: Tensor
    steps: int = 0
    sequences: int = 0


class Streaming:
    """Reads sequences frame by frame, to use a layer or to let it learn.

    Using it: `step` each frame, then `end`, which gives what `RecurrentLayer.forward` gives for the sequence. Learning:
    `learn` each frame beside its partner's, then `end`; after all sequences of a batch `apply` makes the update that
    `RecurrentLayer.learn` makes. A sequence is either used or learned from, and both may take turns.

    Args:
        layer: of one direction, that reads sequences as they come.
        sequences: how many a batch has; errors are averaged over them.

    Raises:
        UsageError: a direction reads sequences from their ends, or `sequences` is not positive.
    """

    def __init__(self, layer: RecurrentLayer, sequences: int = 1) -> None:
        if len(layer.directions) != 1 or layer.directions[0].backwards:
            raise UsageError(
                "A layer that hears frames as they come must have one direction, forwards. Got one that reads "
                "sequences from their ends instead."
            )
        if sequences < 1:
            raise UsageError(f"A batch must have at least 1 sequence. Got {sequences} instead.")
        self.layer, self.sequences = layer, sequences
        self._direction = layer.directions[0]
        self._heard: _Heard | None = None
        self._sums: _Sums | None = None

    def step(self, frame: Tensor) -> Tensor:
        """Hear one frame.

        Args:
            frame: `[F]`, floating point.
        Returns:
            The standardised state after it, `[units]`.

        Raises:
            UsageError: a frame that does not fit, or a sequence that is being learned from.
        """
        frames = self._frames(frame)
        heard = self._going(pairs=1)
        self._move(heard, self._driven(2 * wide(self._direction.inputs.mvm(frames))))
        return heard.states[0]

    def learn(self, frame: Tensor, other: Tensor | None) -> Tensor:
        """Hear one frame of a sequence, and the frame of its partner at the same step, and sum what they teach.

        No weight changes before `apply`.

        Args:
            frame: `[F]`, floating point.
            other: `[F]`, or None from where the partner has ended; where it is longer, its rest is not heard.
        Returns:
            The standardised state of the positive pair, `[units]`: that of `step`.

        Raises:
            UsageError: a frame that does not fit, a partner that goes on after its end, a sequence that is being used,
                one more than the batch has, or a layer without a rule.
        """
        rule = self.layer.rule
        if rule is None:
            raise UsageError("A layer must have a rule to learn by. Got one without instead.")
        frames = self._frames(frame) if other is None else self._frames(frame, other)
        if self._sums is not None and self._sums.sequences == self.sequences:
            raise UsageError(f"A batch of {self.sequences} sequences must be applied before the next one. Got a frame.")
        heard = self._going(pairs=2)
        if other is not None and heard.partner_ended:
            raise UsageError("The partner of a sequence must not go on once it has ended. Got a frame of it.")
        heard.partner_ended = other is None
        u = wide(self._direction.inputs.mvm(frames))
        read = heard.states
        z = self._move(heard, self._driven(torch.stack((2 * u[0], u.sum(dim=0)))))
        errors = rule.errors(Signals(frames[:1], z[:1], z[1:]))
        # the rule averages over the one row it is given
        positive, negative = errors.positive[0] / self.sequences, errors.negative[0] / self.sequences
        sums = self._summed(z)
        sums.inputs.addr_(2 * positive + negative, frames[0].to(z.dtype))
        if other is not None:
            sums.inputs.addr_(negative, frames[1].to(z.dtype))
        sums.hidden.addr_(positive, read[0]).addr_(negative, read[1])
        sums.bias.add_(positive).add_(negative)
        sums.figures.add_(torch.stack((errors.goodness_positive, errors.goodness_negative, errors.loss)))
        sums.steps += 1
        return heard.states[0]

    def end(self) -> Tensor:
        """End the sequence; the next frame is the first of another.

        Returns:
            What the layer passes on for it: the last state `[units]`, with `averages` `[2 units]`, its mean behind it.

        Raises:
            UsageError: no frame was heard.
        """
        heard, self._heard = self._heard, None
        if heard is None:
            raise UsageError("A sequence must have at least 1 frame. Got its end instead.")
        if len(heard.states) == 2:
            assert self._sums is not None
            self._sums.sequences += 1
        if not self.layer.averages:
            return heard.states[0]
        return torch.cat((heard.states[0], heard.total[0] / heard.steps))

    def apply(self) -> Telemetry:
        """Change both arrays once, by what the sequences of a batch taught, and forget it.

        Returns:
            The figures of the batch, as `RecurrentLayer.learn` gives them.

        Raises:
            UsageError: a sequence has not ended, or the batch is not complete.
        """
        sums = self._sums
        ended = 0 if sums is None else sums.sequences
        if self._heard is not None:
            raise UsageError("A sequence must have ended before an update. Got one that is going on instead.")
        if sums is None or ended != self.sequences:
            raise UsageError(f"An update must be made after {self.sequences} sequences. Got {ended} instead.")
        for array, total in ((self._direction.inputs, sums.inputs), (self._direction.hidden, sums.hidden)):
            identity = torch.eye(total.shape[1], dtype=total.dtype, device=total.device)
            array.update(identity, total.T, sums.bias)
        self._sums = None
        means = sums.figures / sums.steps
        return Telemetry(means[0], means[1], means[2], (sums.bias == 0).to(means.dtype).mean())

    def _frames(self, *frames: Tensor) -> Tensor:
        """Standardised frames, one a row."""
        for frame in frames:
            if frame.shape != (self.layer.features_in,) or not frame.is_floating_point():
                raise UsageError(
                    f"A frame must be floating point of shape [{self.layer.features_in}]. "
                    f"Got {frame.dtype} of shape {list(frame.shape)} instead."
                )
        return standardise(torch.stack(frames))

    def _going(self, pairs: int) -> _Heard:
        """The sequence that is going on, or a new one."""
        if self._heard is None:
            zeros = wide(self._direction.hidden.bias).new_zeros(pairs, self.layer.units)
            self._heard = _Heard(zeros, zeros)
        if len(self._heard.states) != pairs:
            raise UsageError("A sequence must be either used or learned from, from its start to its end. Got both.")
        return self._heard

    def _driven(self, u: Tensor) -> Tensor:
        return u + (self._direction.inputs.bias + self._direction.hidden.bias)

    def _move(self, heard: _Heard, driven: Tensor) -> Tensor:
        """One step on; the pre-activations `[P, units]`."""
        z = driven + wide(self._direction.hidden.mvm(heard.states))
        heard.states = standardise(torch.relu(z))
        heard.total = heard.total + heard.states
        heard.steps += 1
        return z

    def _summed(self, like: Tensor) -> _Sums:
        if self._sums is None:
            units, features = self.layer.units, self.layer.features_in
            self._sums = _Sums(
                like.new_zeros(units, features), like.new_zeros(units, units), like.new_zeros(units), like.new_zeros(3)
            )
        return self._sums
