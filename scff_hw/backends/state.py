"""Checks shared by arrays: of a state before loading, and of the optimiser."""

from __future__ import annotations

from torch import Tensor

from scff_hw.core.arrays import Optimisation
from scff_hw.errors import CheckpointError, UsageError


def check_state(expected: dict[str, Tensor], state: dict[str, Tensor]) -> None:
    """Check that a state has the names and shapes of the `expected` state of the array that loads it.

    Raises:
        CheckpointError: a tensor is missing, superfluous or of another shape; the message names the first.
    """
    for name in sorted({*expected, *state}):
        if name not in state:
            raise CheckpointError(f"The state has no tensor '{name}', which this array needs.")
        if name not in expected:
            raise CheckpointError(f"The state holds a tensor '{name}', which this array does not have.")
        if state[name].shape != expected[name].shape:
            raise CheckpointError(
                f"The tensor '{name}' of the state must have shape {list(expected[name].shape)}. "
                f"Got {list(state[name].shape)} instead."
            )


def check_plain_sgd(optimisation: Optimisation, name: str, backend: str, why: str) -> None:
    """Check that the optimiser of the array `name`, e.g. layers.1, is plain SGD.

    Raises:
        UsageError: another optimiser (`why` is the reason in the message), momentum or weight decay; the message
            names the options to change.
    """
    key, _, _ = name.partition(" ")
    at = f"--set {key if key.startswith('layers.') else 'layers.*'}.learn"
    if optimisation.optimiser != "sgd":
        raise UsageError(
            f"The optimiser of the {backend} backend must be sgd: {why}. "
            f"Got '{optimisation.optimiser}' instead; "
            f"type: {at}.optimiser=sgd {at}.learning_rate=0.3 {at}.weight_decay=0"
        )
    for label, value in (("momentum", optimisation.momentum), ("weight decay", optimisation.weight_decay)):
        if value:
            raise UsageError(
                f"The {label} of the {backend} backend must be 0. Got {value:g} instead; "
                f"type: {at}.{label.replace(' ', '_')}=0"
            )
