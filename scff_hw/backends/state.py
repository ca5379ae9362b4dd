"""The checks every array makes: of a state before it takes it over, of weights and of inputs."""

from __future__ import annotations

from torch import Tensor

from scff_hw.core.arrays import Dense, Geometry, Optimisation
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


def check_weight(geometry: Geometry, weight: Tensor) -> None:
    """Refuse a weight that is not of the geometry's shape.

    Raises:
        UsageError: names both shapes.
    """
    if tuple(weight.shape) != geometry.weight_shape:
        raise UsageError(
            f"The weight of {geometry} must have shape {list(geometry.weight_shape)}. "
            f"Got {list(weight.shape)} instead."
        )


def check_input(geometry: Geometry, x: Tensor) -> None:
    """Refuse an input that an array of this geometry cannot read.

    Raises:
        UsageError: names the shape.
    """
    dims = 2 if isinstance(geometry, Dense) else 4
    if x.dim() != dims or x.shape[1] != geometry.inputs:
        raise UsageError(
            f"The input of {geometry} must have {dims} dimensions and {geometry.inputs} in the second. "
            f"Got shape {list(x.shape)} instead."
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
