"""A recurrent layer that processes one frame of one sequence at a time, as a chip connected to a microphone does.

It computes what `recurrent` computes from whole batches, in memory independent of sequence length. Inference stores the
state and, for means over time, its sum. Learning stores the states of a positive and a negative pair, and the sums of
outer products

    G_W = sum over steps of  (2 d_pos + d_neg) a^T + d_neg b^T
    G_U = sum over steps of  d_pos s_pos^T + d_neg s_neg^T

with `a` a frame of the sequence, `b` the frame of its partner at the same step (0 once the partner has ended), `d` the
errors of the rule at that step, and `s` the states that U reads at that step. After the last sequence of a batch each
array is updated once. W reads the partner's frames too: two frames per step, where a batch reads each frame once.
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
class _Sequence:
    """The sequence in progress: `states` and their sum `total`, `[P, units]`; P is 2 (positive, negative) or 1."""

    states: Tensor
    total: Tensor
    steps: int = 0
    partner_ended: bool = False


@dataclass
class _Sums:
    """Sums of a batch: outer products `[units, inputs]` and `[units, units]`, errors `[units]`, and metrics `[3]`."""

    inputs: Tensor
    hidden: Tensor
    bias: Tensor
    metrics: Tensor
    steps: int = 0
    sequences: int = 0


class Streaming:
    """Processes sequences frame by frame, for inference or learning.

    Inference: `step` per frame, then `end`, which returns the output of `RecurrentLayer.forward` for the sequence.
    Learning: `learn` per frame and partner frame, then `end`; after all sequences of a batch, `apply` makes the update
    of `RecurrentLayer.learn`. A sequence is used for inference or for learning; the two kinds may alternate.

    Args:
        layer: a layer with one direction, forwards.
        sequences: number of sequences per batch; errors are averaged over them.

    Raises:
        UsageError: a direction is backwards, or `sequences` is not positive.
    """

    def __init__(self, layer: RecurrentLayer, sequences: int = 1) -> None:
        if len(layer.directions) != 1 or layer.directions[0].backwards:
            raise UsageError(
                "A layer that takes one frame at a time must have one direction, forwards. Got one that reads "
                "sequences from their ends instead."
            )
        if sequences < 1:
            raise UsageError(f"A batch must have at least 1 sequence. Got {sequences} instead.")
        self.layer, self.sequences = layer, sequences
        self._direction = layer.directions[0]
        self._sequence: _Sequence | None = None
        self._sums: _Sums | None = None

    def step(self, frame: Tensor) -> Tensor:
        """Compute one time step of inference.

        Args:
            frame: `[F]`, floating point.
        Returns:
            The standardised state after the step, `[units]`.

        Raises:
            UsageError: invalid frame, or the sequence in progress is used for learning.
        """
        frames = self._frames(frame)
        sequence = self._in_progress(pairs=1)
        self._advance(sequence, self._input_drive(2 * wide(self._direction.inputs.mvm(frames))))
        return sequence.states[0]

    def learn(self, frame: Tensor, other: Tensor | None) -> Tensor:
        """Compute one time step of learning from a frame and the partner's frame; add to the sums of the update.

        Weights change only in `apply`.

        Args:
            frame: `[F]`, floating point.
            other: `[F]`, or None once the partner sequence has ended; a longer partner is truncated.
        Returns:
            The standardised state of the positive pair, `[units]`, as from `step`.

        Raises:
            UsageError: invalid frame, a partner frame after its end, a sequence in progress used for inference, one
                sequence more than the batch has, or a layer without a rule.
        """
        rule = self.layer.rule
        if rule is None:
            raise UsageError("A layer must have a rule to learn by. Got one without instead.")
        frames = self._frames(frame) if other is None else self._frames(frame, other)
        if self._sums is not None and self._sums.sequences == self.sequences:
            raise UsageError(f"A batch of {self.sequences} sequences must be applied before the next one. Got a frame.")
        sequence = self._in_progress(pairs=2)
        if other is not None and sequence.partner_ended:
            raise UsageError("The partner of a sequence must not continue once it has ended. Got a frame of it.")
        sequence.partner_ended = other is None
        u = wide(self._direction.inputs.mvm(frames))
        read = sequence.states
        z = self._advance(sequence, self._input_drive(torch.stack((2 * u[0], u.sum(dim=0)))))
        errors = rule.errors(Signals(frames[:1], z[:1], z[1:]))
        # the rule averages over one row
        positive, negative = errors.positive[0] / self.sequences, errors.negative[0] / self.sequences
        sums = self._summed(z)
        sums.inputs.addr_(2 * positive + negative, frames[0].to(z.dtype))
        if other is not None:
            sums.inputs.addr_(negative, frames[1].to(z.dtype))
        sums.hidden.addr_(positive, read[0]).addr_(negative, read[1])
        sums.bias.add_(positive).add_(negative)
        sums.metrics.add_(torch.stack((errors.goodness_positive, errors.goodness_negative, errors.loss)))
        sums.steps += 1
        return sequence.states[0]

    def end(self) -> Tensor:
        """End the sequence in progress; the next frame starts a new one.

        Returns:
            The layer's output: the last state `[units]`; with `averages` `[2 units]`, last state, then mean state.

        Raises:
            UsageError: the sequence has no frames.
        """
        sequence, self._sequence = self._sequence, None
        if sequence is None:
            raise UsageError("A sequence must have at least 1 frame. Got its end instead.")
        if len(sequence.states) == 2:
            assert self._sums is not None
            self._sums.sequences += 1
        if not self.layer.averages:
            return sequence.states[0]
        return torch.cat((sequence.states[0], sequence.total[0] / sequence.steps))

    def apply(self) -> Telemetry:
        """Update both arrays once from the sums of a batch, and reset the sums.

        Returns:
            The telemetry of the batch, as from `RecurrentLayer.learn`.

        Raises:
            UsageError: a sequence is in progress, or the batch is incomplete.
        """
        sums = self._sums
        ended = 0 if sums is None else sums.sequences
        if self._sequence is not None:
            raise UsageError("A sequence must have ended before an update. Got one in progress instead.")
        if sums is None or ended != self.sequences:
            raise UsageError(f"An update must be made after {self.sequences} sequences. Got {ended} instead.")
        for array, total in ((self._direction.inputs, sums.inputs), (self._direction.hidden, sums.hidden)):
            identity = torch.eye(total.shape[1], dtype=total.dtype, device=total.device)
            array.update(identity, total.T, sums.bias)
        self._sums = None
        means = sums.metrics / sums.steps
        return Telemetry(means[0], means[1], means[2], (sums.bias == 0).to(means.dtype).mean())

    def _frames(self, *frames: Tensor) -> Tensor:
        """Return the standardised frames, one per row."""
        for frame in frames:
            if frame.shape != (self.layer.features_in,) or not frame.is_floating_point():
                raise UsageError(
                    f"A frame must be floating point of shape [{self.layer.features_in}]. "
                    f"Got {frame.dtype} of shape {list(frame.shape)} instead."
                )
        return standardise(torch.stack(frames))

    def _in_progress(self, pairs: int) -> _Sequence:
        """Return the sequence in progress, or a new one with `pairs` states (2 to learn, 1 to infer)."""
        if self._sequence is None:
            zeros = wide(self._direction.hidden.bias).new_zeros(pairs, self.layer.units)
            self._sequence = _Sequence(zeros, zeros)
        if len(self._sequence.states) != pairs:
            raise UsageError("A sequence must be either used or learned from, from its start to its end. Got both.")
        return self._sequence

    def _input_drive(self, u: Tensor) -> Tensor:
        return u + (self._direction.inputs.bias + self._direction.hidden.bias)

    def _advance(self, sequence: _Sequence, drive: Tensor) -> Tensor:
        """Compute one time step; return the pre-activations `[P, units]`."""
        z = drive + wide(self._direction.hidden.mvm(sequence.states))
        sequence.states = standardise(torch.relu(z))
        sequence.total = sequence.total + sequence.states
        sequence.steps += 1
        return z

    def _summed(self, like: Tensor) -> _Sums:
        if self._sums is None:
            units, features = self.layer.units, self.layer.features_in
            self._sums = _Sums(
                like.new_zeros(units, features), like.new_zeros(units, units), like.new_zeros(units), like.new_zeros(3)
            )
        return self._sums
