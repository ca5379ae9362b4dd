"""What a backend must do: own an array of synapses, read it, and change it in its own physics.

A layer asks two things of its array, for dense, convolutional and recurrent geometry alike: `mvm(x)`, and
`update(x, error)`. Both take the same `x`; an update follows the `mvm` it belongs to, so an array may keep
what it prepared of `x` in between. A recurrent layer reads its states step by step, then updates once with the rows
of all steps: so an update must not need that very `mvm`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from scff_hw.core.geometry import Geometry


@dataclass(frozen=True)
class Optimisation:
    """How an array turns the gradient of its layer's loss into a change of its weights.

    Attributes:
        optimiser: "adamw" or "sgd"; a backend may support only one of them.
        learning_rate: before any decay.
        weight_decay: decoupled, as in AdamW; biases decay too.
        momentum: of SGD.
    """

    optimiser: str = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    momentum: float = 0.0


@runtime_checkable
class SynapticArray(Protocol):
    """One layer's weights and biases, held by a backend."""

    @property
    def geometry(self) -> Geometry: ...

    @property
    def learning_rate(self) -> float:
        """The rate of the next update; a trainer lowers it as it goes."""
        ...

    @learning_rate.setter
    def learning_rate(self, value: float) -> None: ...

    @property
    def bias(self) -> Tensor:
        """`[outputs]`, as the layer adds it to the pre-activation (twice for a pair)."""
        ...

    @property
    def weight(self) -> Tensor:
        """A copy of the weights, in the shape `geometry.weight_shape`, float32 or float64."""
        ...

    def mvm(self, x: Tensor) -> Tensor:
        """`W x` for every row and position, without the bias."""
        ...

    def update(self, x: Tensor, error: Tensor, bias_error: Tensor) -> None:
        """Descend the gradient `sum error x^T`: for plain SGD, `W -= learning_rate * sum error x^T`.

        Args:
            x: as given to `mvm`.
            error: the shape of `mvm(x)`, already averaged over the batch.
            bias_error: `[outputs]`.
        """
        ...

    def weight_range(self) -> tuple[float, float]:
        """The smallest and the greatest weight."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Everything that determines what the array does next, as tensors that share no memory with it."""
        ...

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from `state()`.

        Raises:
            CheckpointError: names or shapes are not this array's.
        """
        ...


@runtime_checkable
class Metered(Protocol):
    """An array that counts what its devices go through; its `state` holds the counts too."""

    def take_metrics(self) -> dict[str, float]:
        """Figures since the last call, by name; asked for once an epoch, and logged with it."""
        ...


@runtime_checkable
class OwnArithmetic(Protocol):
    """A backend whose layers and readout compute in numbers of their own, such as integers.

    Its arrays make the same two calls; what lies between them is not the float layer's.
    """

    def layer(self, **parts: Any) -> Any:
        """A layer (`scff_hw.core.layer.Layer`) from the fields of `scff_hw.core.layer.PairLayer`."""
        ...

    def recurrent_layer(self, **parts: Any) -> Any:
        """A layer from the fields of `scff_hw.core.recurrent.RecurrentLayer`."""
        ...

    def readout(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """A readout's weights and biases as this backend's inference has them."""
        ...
