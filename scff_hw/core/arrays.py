"""The interface of a weight array: a backend stores the weights, reads them and updates them in its own physics.

A layer, dense, convolutional or recurrent, makes two calls: `mvm(x)` (matrix-vector multiplication) and
`update(x, error)`. Both take the same `x`, and `update` follows `mvm`, so an array may cache what it computed from
`x`. A recurrent layer calls `mvm` once per step, then `update` once with the rows of all steps, so `update` must also
accept an `x` that was not passed to `mvm` as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from scff_hw.core.geometry import Geometry


@dataclass(frozen=True)
class Optimisation:
    """How an array converts the gradient of its layer's loss into a weight update.

    Attributes:
        optimiser: "adamw" or "sgd"; a backend may support only one of them.
        learning_rate: initial rate, before decay.
        weight_decay: decoupled, as in AdamW; biases decay too.
        momentum: SGD only.
    """

    optimiser: str = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    momentum: float = 0.0


@runtime_checkable
class SynapticArray(Protocol):
    """A weight matrix and its biases, owned by a backend."""

    @property
    def geometry(self) -> Geometry: ...

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next update; the trainer decays it."""
        ...

    @learning_rate.setter
    def learning_rate(self, value: float) -> None: ...

    @property
    def bias(self) -> Tensor:
        """Biases `[outputs]`; the layer adds them to the pre-activation (twice for a pair)."""
        ...

    @property
    def weight(self) -> Tensor:
        """A copy of the weights, shape `geometry.weight_shape`, float32 or float64."""
        ...

    def mvm(self, x: Tensor) -> Tensor:
        """Return `W x` `[R, outputs, ...]` for each row and position of `x` `[R, inputs, ...]`, without the bias."""
        ...

    def update(self, x: Tensor, error: Tensor, bias_error: Tensor) -> None:
        """Make one gradient step; for plain SGD, `W -= learning_rate * sum error x^T`.

        Args:
            x: `[R, inputs, ...]`, as passed to `mvm`.
            error: errors at `mvm(x)`, same shape, already averaged over the batch.
            bias_error: `[outputs]`, errors at the biases.
        """
        ...

    def weight_range(self) -> tuple[float, float]:
        """Return the minimum and maximum weight."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Return the complete state of the array, as tensors that share no memory with it."""
        ...

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Restore a state returned by `state()`.

        Raises:
            CheckpointError: names or shapes do not match this array.
        """
        ...


@runtime_checkable
class Metered(Protocol):
    """An array that counts events in its devices; its `state` includes the counts."""

    def take_metrics(self) -> dict[str, float]:
        """Return the metrics counted since the last call, keyed by name; called and logged once per epoch."""
        ...


@runtime_checkable
class OwnArithmetic(Protocol):
    """A backend whose layers and readout use their own number system, such as integers.

    Its layers also call `mvm` and `update` of arrays; the computation between the two differs from the float layer's.
    """

    def layer(self, **parts: Any) -> Any:
        """Return a `scff_hw.core.layer.Layer`; `parts` are the fields of `scff_hw.core.layer.PairLayer`."""
        ...

    def recurrent_layer(self, **parts: Any) -> Any:
        """Return a recurrent layer; `parts` are the fields of `scff_hw.core.recurrent.RecurrentLayer`."""
        ...

    def readout(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return a readout's weights and biases with the values that this backend uses at inference."""
        ...
