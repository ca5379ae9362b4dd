"""The integer reference of recurrent layers, in NumPy, specified in a section of the fixed backend's `README.md`.

`IntegerRecurrent` learns from whole sequences, pair by pair. `StreamingRecurrent` learns from one step at a time, as a
chip does that cannot store a sequence, with the same integer results: it stores states and sums only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scff_hw.backends.fixed.formats.formats import BIAS_GUARD_BITS, check_alike
from scff_hw.backends.fixed.reference.arithmetic import (
    COEFFICIENT_BITS,
    Ints,
    checked,
    divide,
    matmul,
    shift_right,
    split,
)
from scff_hw.backends.fixed.reference.layer import MEAN_GUARD_BITS, IntegerLayer, coefficients, requantise, standardise
from scff_hw.core.shapes import DIRECTIONS
from scff_hw.errors import UsageError

TOTAL_BITS = 24
"""Bits of a sum of states over time, used for means; enough for 66 000 steps of 8-bit states."""


@dataclass(frozen=True)
class Unrolled:
    """The unrolled pass of one pair through a direction, T steps in order of time.

    Attributes:
        read: `[T, C]`, the states that U read.
        z: `[T, C]`, pre-activations.
        final: `[C]`, the last state.
        total: `[C]`, the sum of the states over time.
    """

    read: Ints
    z: Ints
    final: Ints
    total: Ints


class IntegerDirection:
    """One direction of a recurrent layer, with two arrays of weights.

    Attributes:
        inputs: W, input weights, multiply frames.
        hidden: U, recurrent weights, multiply states.
        backwards: reads sequences from the last frame to the first.
    """

    def __init__(self, inputs: IntegerLayer, hidden: IntegerLayer, backwards: bool = False) -> None:
        self.inputs, self.hidden, self.backwards = inputs, hidden, backwards
        self.units = len(hidden.stored)
        self.clear()

    def clear(self) -> None:
        """Set the gradient sums of W (frames), U (states) and their common bias to 0."""
        self._of_inputs, self._of_hidden = np.zeros_like(self.inputs.stored), np.zeros_like(self.hidden.stored)
        self._of_bias = np.zeros_like(self.hidden.bias)

    def input_drive(self, x: Ints) -> Ints:
        """Return W times standardised frames `[T, F]`, without bias, at the scale of pre-activations, `[T, C]`."""
        return self._to_pre_activation(self.inputs, self.inputs.mvm(x)[:, 0, :])

    @property
    def bias_drive(self) -> Ints:
        """Bias `[C]` of W at the scale of pre-activations; added at every step."""
        form = self.inputs.spec.formats
        bias = shift_right(self.inputs.bias, BIAS_GUARD_BITS, form.rounding)
        return self._to_pre_activation(self.inputs, bias[None])[0]

    def step(self, state: Ints, drive: Ints) -> tuple[Ints, Ints]:
        """Compute one time step of one pair; return pre-activations and the next state, `[C]` each.

        Args:
            state: state after the previous step, `[C]`; zeros at the first step.
            drive: sum of both frames' input drives, `[C]`.
        """
        form = self.hidden.spec.formats
        z = drive + self.bias_drive + self.hidden.pre_activations(self.hidden.mvm(state[None]))[0, 0]
        return z, standardise(self.hidden.outputs(z)[None], form.standardised, form.rounding)[0]

    def unroll(self, drive: Ints) -> Unrolled:
        """Compute all steps of one pair from the input drive `[T, C]`."""
        read, z = np.zeros_like(drive), np.zeros_like(drive)
        state, total = np.zeros_like(drive[0]), np.zeros_like(drive[0])
        steps = range(len(drive))
        for t in reversed(steps) if self.backwards else steps:
            read[t] = state
            z[t], state = self.step(state, drive[t])
            total = total + state
        return Unrolled(read, z, state, total)

    def transmitted(self, final: Ints, total: Ints, steps: int, averages: bool) -> Ints:
        """Return the output of a sequence: its last state `[1, C]`; with `averages`, last and mean state `[2, C]`."""
        form = self.hidden.spec.formats
        shift = form.standardised.frac_bits - form.transmitted.frac_bits
        output = [requantise(final, shift, form.transmitted.bits, form.rounding)]
        if averages:
            total = checked(total, TOTAL_BITS, "sum of states over time")
            mean = divide(total << MEAN_GUARD_BITS, steps)
            output.append(requantise(mean, shift + MEAN_GUARD_BITS, form.transmitted.bits, form.rounding))
        return np.stack(output)

    def collect(self, frames: Sequence[Ints], reads: Sequence[Ints], errors: Sequence[Ints]) -> None:
        """Add the gradients of the steps of one pair to the gradient sums.

        Args:
            frames: standardised frames, `[T, F]` of the pair's first half and `[T', F]` of its second, T' <= T.
            reads: states that U read, `[T, C]` each, of the positive and the negative pair.
            errors: errors at the pre-activations, `[T, C]` each, of the positive and the negative pair.
        """
        positive, negative = errors
        own, others = frames
        self._of_inputs += matmul((2 * positive + negative).T, own) + matmul(negative[: len(others)].T, others)
        self._of_hidden += matmul(positive.T, reads[0]) + matmul(negative.T, reads[1])
        self._of_bias += (positive + negative).sum(axis=0)

    def apply(self, rate_shift: int) -> None:
        """Update both arrays once from the gradient sums, and reset the sums."""
        self.inputs.apply(self._of_inputs, self._of_bias, rate_shift)
        self.hidden.apply(self._of_hidden, self._of_bias, rate_shift)
        self.clear()

    def _to_pre_activation(self, array: IntegerLayer, sums: Ints) -> Ints:
        form = array.spec.formats
        shift = np.asarray(form.accumulator.fracs) - form.pre_activation.frac_bits
        return requantise(sums, shift, form.pre_activation.bits, form.rounding)


class IntegerRecurrent:
    """A recurrent layer that learns: one direction or two, which share only their goodness.

    Attributes:
        directions: all arrays have the same formats, except those of weights and of inputs.
        averages: the output also contains the means of the states over time, after the last states.

    Raises:
        UsageError: the arrays' formats do not match.
    """

    def __init__(self, directions: Sequence[IntegerDirection], averages: bool = False) -> None:
        self.directions, self.averages = tuple(directions), averages
        self.spec = self.directions[0].hidden.spec
        check_alike(
            {
                f"{DIRECTIONS[direction.backwards]}.{part}": array.spec.formats
                for direction in self.directions
                for part, array in (("inputs", direction.inputs), ("hidden", direction.hidden))
            }
        )

    @property
    def units(self) -> int:
        """Total number of units of all directions, over which goodness is averaged."""
        return sum(direction.units for direction in self.directions)

    def forward(self, sequences: Sequence[Ints]) -> Ints:
        """Return outputs `[N, C]` for raw sequences `[T, F]`, each paired with itself; `averages`: `[N, 2 C]`."""
        outputs = []
        for frames in sequences:
            drives = [2 * direction.input_drive(direction.inputs.standardised(frames)) for direction in self.directions]
            passes = [direction.unroll(drive) for direction, drive in zip(self.directions, drives, strict=True)]
            outputs.append(self.transmitted(passes, len(frames)))
        return np.stack(outputs)

    def transmitted(self, passes: Sequence[Unrolled], steps: int) -> Ints:
        """Return the last states of all directions, then, with `averages`, the mean states, as one vector."""
        parts = [
            direction.transmitted(unrolled.final, unrolled.total, steps, self.averages)
            for direction, unrolled in zip(self.directions, passes, strict=True)
        ]
        return np.concatenate(parts, axis=1).ravel()

    def features(self, transmitted: Ints) -> Ints:
        """Return the readout features: the output in the format `feature`."""
        form = self.spec.formats
        shift = form.transmitted.frac_bits - form.feature.frac_bits
        return requantise(transmitted, shift, form.feature.bits, form.rounding)

    def learn(self, sequences: Sequence[Ints], partner: NDArray[np.int64], rate_shift: int) -> tuple[Ints, Ints]:
        """Update the weights once, from all steps of a batch.

        Args:
            sequences: raw, `[T, F]` each; T differs.
            partner: sequence k is paired with `partner[k]`.
            rate_shift: the learning rate is `2^-rate_shift`.
        Returns:
            Pre-update outputs of the positive and the negative pairs.
        """
        outputs: tuple[list[Ints], list[Ints]] = ([], [])
        for own, other in zip(sequences, (sequences[n] for n in partner), strict=True):
            other = other[: len(own)]
            frames, passes = [], []
            for direction in self.directions:
                x = [direction.inputs.standardised(half) for half in (own, other)]
                v = direction.input_drive(x[0])
                # the second half contributes 0 once it has ended
                joined = v.copy()
                joined[: len(other)] += direction.input_drive(x[1])
                frames.append(x)
                passes.append((direction.unroll(2 * v), direction.unroll(joined)))
            z = [np.concatenate([pair[half].z for pair in passes], axis=1) for half in (0, 1)]
            errors = zip(*(self._split(error) for error in self.errors(z[0], z[1], len(sequences))), strict=True)
            for direction, x, (positive, negative), error in zip(self.directions, frames, passes, errors, strict=True):
                direction.collect(x, (positive.read, negative.read), error)
            for half, transmitted in enumerate(outputs):
                transmitted.append(self.transmitted([pair[half] for pair in passes], len(own)))
        for direction in self.directions:
            direction.apply(rate_shift)
        return np.stack(outputs[0]), np.stack(outputs[1])

    def errors(self, z_pos: Ints, z_neg: Ints, sequences: int) -> tuple[Ints, Ints]:
        """Return the errors at the pre-activations `[T, C]` of the steps of a positive and a negative pair.

        Args:
            sequences: number of sequences of the batch, over which errors are averaged; errors of steps are summed.
        """
        form = self.spec.formats
        y_pos, y_neg = (self.directions[0].hidden.outputs(z) for z in (z_pos, z_neg))
        s_pos, s_neg = (checked((y * y).sum(axis=1), 32, "sum of squared outputs")[:, None] for y in (y_pos, y_neg))
        c_pos, c_neg = coefficients(s_pos, s_neg, self.spec, self.units, sequences)
        _, exponent = split(2 / (self.units * sequences))
        shift = exponent + form.output.frac_bits + COEFFICIENT_BITS - form.error.frac_bits
        pull, push = (checked(each, 32, "error before its shift") for each in (-y_pos * c_pos, y_neg * c_neg))
        pull, push = (requantise(each, shift, form.error.bits, form.rounding) for each in (pull, push))
        return pull, push

    def _split(self, x: Ints) -> list[Ints]:
        """Split `[T, units of all directions]` into one `[T, C]` per direction."""
        return np.split(x, np.cumsum([direction.units for direction in self.directions])[:-1], axis=1)


class StreamingRecurrent:
    """A layer with one direction that processes one time step at a time and stores no sequence.

    Learning: `begin`, then per pair `begin_pair` and one `learn` per frame of its first half, then `apply`.
    Inference: `begin_pair`, one `step` per frame, then `transmitted`.

    Raises:
        UsageError: a direction of the layer is backwards.
    """

    def __init__(self, layer: IntegerRecurrent) -> None:
        if any(direction.backwards for direction in layer.directions):
            raise UsageError(
                "A recurrent layer that takes one step at a time must read forwards only. "
                "Got a direction that reads sequences from their ends instead, which needs the whole sequence."
            )
        self.layer = layer
        self.direction = layer.directions[0]
        self.begin(1)
        self.begin_pair()

    def begin(self, sequences: int) -> None:
        """Begin a batch of `sequences` sequences, each the first half of one pair."""
        self.sequences = sequences
        self.direction.clear()

    def begin_pair(self) -> None:
        """Begin a pair, or a sequence for inference, with zero states."""
        self.states = np.zeros((2, self.direction.units), dtype=np.int64)
        self.total = np.zeros(self.direction.units, dtype=np.int64)
        self.steps = 0

    def learn(self, own: Ints, other: Ints | None) -> None:
        """Compute one time step of learning from raw frames `[F]`; `other` is None once the second half has ended."""
        direction = self.direction
        frames = [direction.inputs.standardised(half[None]) for half in (own, other) if half is not None]
        v = [direction.input_drive(x)[0] for x in frames]
        read = self.states
        joined = v[0] if other is None else v[0] + v[1]
        stepped = [direction.step(read[0], 2 * v[0]), direction.step(read[1], joined)]
        errors = self.layer.errors(stepped[0][0][None], stepped[1][0][None], self.sequences)
        others = frames[1] if other is not None else frames[0][:0]
        direction.collect((frames[0], others), (read[:1], read[1:]), errors)
        self.states = np.stack([state for _, state in stepped])
        self.total, self.steps = self.total + self.states[0], self.steps + 1

    def apply(self, rate_shift: int) -> None:
        """Update the weights once, from all pairs since `begin`."""
        self.direction.apply(rate_shift)

    def step(self, frame: Ints) -> None:
        """Compute one time step of inference from a raw frame `[F]`."""
        direction = self.direction
        v = direction.input_drive(direction.inputs.standardised(frame[None]))[0]
        self.states[0] = direction.step(self.states[0], 2 * v)[1]
        self.total, self.steps = self.total + self.states[0], self.steps + 1

    def transmitted(self) -> Ints:
        """Return the output for the sequence so far, `[C]`, or `[2 C]` with averages."""
        return self.direction.transmitted(self.states[0], self.total, self.steps, self.layer.averages).ravel()
