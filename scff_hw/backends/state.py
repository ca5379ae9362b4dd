"""The check every array makes of a state before it takes it over."""

from __future__ import annotations

from torch import Tensor

from scff_hw.errors import CheckpointError


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
