"""Learning rate over a run: one schedule for the trainer, the integer reference and on-device learning."""

from __future__ import annotations

from typing import Protocol


class StepDecay(Protocol):
    """A learning rate multiplied by `decay_factor` after every `decay_period_batches` batches."""

    @property
    def learning_rate(self) -> float: ...
    @property
    def decay_factor(self) -> float: ...
    @property
    def decay_period_batches(self) -> int: ...


def learning_rate(decay: StepDecay, step: int) -> float:
    """Return the rate of batch number `step`, from 1 across epochs; batch `decay_period_batches` is already decayed.

    Source: authors' code.
    """
    return decay.learning_rate * decay.decay_factor ** (step // decay.decay_period_batches)


def step_of(sample: int, batch_size: int) -> int:
    """Return the number (from 1) of the batch of `batch_size` samples that contains sample number `sample` (from 0)."""
    return sample // batch_size + 1
