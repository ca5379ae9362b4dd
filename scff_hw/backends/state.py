"""Checks that arrays share: of a state before they load it, and of what they learn by."""

from __future__ import annotations

from torch import Tensor

from scff_hw.core.arrays import Optimisation
from scff_hw.errors import CheckpointError, UsageError


def check_state(expected: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    """Compare the names and shapes of a state with those of the array that is to load it.

    Raises:
        CheckpointError: names the first tensor that is missing, superfluous or of another shape.
    """
    for name in sorted({*expected, *found}):
        if name not in found:
            raise CheckpointError(f"The state has no tensor '{name}', which this array needs.")
        if name not in expected:
            raise CheckpointError(f"The state holds a tensor '{name}', which this array does not have.")
        if found[name].shape != expected[name].shape:
            raise CheckpointError(
                f"The tensor '{name}' of the state must have shape {list(expected[name].shape)}. "
                f"Got {list(found[name].shape)} instead."
            )


def check_plain_sgd(wanted: Optimisation, name: str, backend: str, why: str) -> None:
    """Refuse anything but plain SGD, naming the options that change it; `name` is the array's, e.g. layers.1.

    Raises:
        UsageError: another optimiser (`why` says what stands against it), momentum or weight decay.
    """
    key, _, _ = name.partition(" ")
    at = f"--set {key if key.startswith('layers.') else 'layers.*'}.learn"
    if wanted.optimiser != "sgd":
        raise UsageError(
            f"The optimiser of the {backend} backend must be sgd: {why}. "
            f"Got '{wanted.optimiser}' instead; type: {at}.optimiser=sgd {at}.learning_rate=0.3 {at}.weight_decay=0"
        )
    for label, value in (("momentum", wanted.momentum), ("weight decay", wanted.weight_decay)):
        if value:
            raise UsageError(
                f"The {label} of the {backend} backend must be 0. Got {value:g} instead; "
                f"type: {at}.{label.replace(' ', '_')}=0"
            )
