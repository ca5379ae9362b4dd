"""What a geometry answers, so that nobody asks which one it is.

An array owns a weight matrix `[outputs, fan_in]`. Its geometry says which rows of it an input becomes, and what shape
the answer has:

    x [R, ...] --rows--> [R * positions, fan_in] --(weight)--> [R * positions, outputs] --fold--> u [R, outputs, ...]
    error [R, outputs, ...] --columns--> [R * positions, outputs]

To add a geometry, subclass `Geometry` and answer its abstract questions. Layers, rules and the backends `float` and
`analog` then work with it: `mvm` and `weight_gradient` follow from `rows`. Override them, or `prepare`, where there is
something faster. What supports only some kinds, such as an exporter, refuses others through `by_kind`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import prod
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from scff_hw.errors import UsageError

Choice = TypeVar("Choice")


class Workspace:
    """Buffers that outlive a call; keep one for each layer, and use it from one thread.

    A tensor handed out under a name stays valid until that name is taken again.
    """

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}

    def take(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Return an uninitialised contiguous tensor of `shape`, with the dtype and device of `like`."""
        count = prod(shape)
        held = self._buffers.get(name)
        if held is None or held.numel() < count or held.dtype != like.dtype or held.device != like.device:
            self._buffers.pop(name, None)
            held = self._buffers[name] = torch.empty(count, dtype=like.dtype, device=like.device)
        return held[:count].view(shape)

    @property
    def bytes(self) -> int:
        """Memory held, in bytes."""
        return sum(b.numel() * b.element_size() for b in self._buffers.values())


@dataclass(frozen=True)
class Geometry(ABC):
    """How a weight matrix meets its input. Immutable.

    Attributes:
        inputs: size of dimension 1 of an input.
        outputs: rows of the weight matrix, dimension 1 of an output.
        kind: its name in files and in `by_kind`, such as "dense".
        input_dims: dimensions of an input, rows included.
        flattens: a layer flattens each sample before this geometry reads it.
        row_order: what the fan_in values of a row are, outermost first.
    """

    kind: ClassVar[str]
    input_dims: ClassVar[int]
    flattens: ClassVar[bool] = False
    row_order: ClassVar[str]

    inputs: int
    outputs: int

    @property
    @abstractmethod
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the weight; flattened from dimension 1 on, it is the weight matrix `[outputs, fan_in]`."""

    @property
    def fan_in(self) -> int:
        """Columns of the weight matrix: input values that one output reads."""
        return prod(self.weight_shape[1:])

    @property
    @abstractmethod
    def fan_out(self) -> int:
        """Output values that one input value reaches."""

    @property
    @abstractmethod
    def window(self) -> int | None:
        """Side of the square window that one output reads, in positions; None where there are no positions."""

    @property
    def label(self) -> str:
        """Kind and size for tables, e.g. "dense 784x500"."""
        return f"{self.kind} {self.inputs}x{self.outputs}"

    def input_shape(self, side: int) -> tuple[int, ...]:
        """Shape of one sample with `side` positions along each axis."""
        return self.inputs, *(side,) * (self.input_dims - 2)

    @abstractmethod
    def output_shape(self, sample: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of one sample's output, given the shape of the sample, padding included."""

    @abstractmethod
    def rows(self, x: Tensor) -> Tensor:
        """The rows `[R * positions, fan_in]` that the weight matrix reads of an input, contiguous."""

    def columns(self, y: Tensor) -> Tensor:
        """Outputs or errors `[R, outputs, ...]` as `[R * positions, outputs]`, in the order of `rows`."""
        return y.movedim(1, -1).flatten(0, -2)

    def fold(self, columns: Tensor, x: Tensor) -> Tensor:
        """The inverse of `columns`, for the outputs of the input `x`."""
        _, *positions = self.output_shape(tuple(x.shape[1:]))
        return columns.view(len(x), *positions, columns.shape[1]).movedim(-1, 1)

    def mvm(self, x: Tensor, weight: Tensor) -> Tensor:
        """`W x` for every row and position `[R, outputs, ...]`; autograd can follow."""
        return self.fold(self.rows(x) @ weight.flatten(1).T, x)

    def weight_gradient(self, x: Tensor, error: Tensor) -> Tensor:
        """`sum error x^T` over rows and positions, in the shape of the weight."""
        return (self.columns(error).T @ self.rows(x)).view(self.weight_shape)

    def prepare(self, x: Tensor, workspace: Workspace, *, exact: bool = False) -> Prepared:
        """An input that is read and then learned from, with what both products share.

        Args:
            workspace: holds the intermediates: the result lasts until the next call with it.
            exact: `x` holds integers, so that neither product may transform it; samples stay rows in memory.

        Raises:
            UsageError: `x` is no such input.
        """
        return Unprepared(self, x)

    def check_input(self, x: Tensor) -> None:
        """Refuse an input that an array of this geometry cannot read.

        Raises:
            UsageError: names the shape.
        """
        dims = self.input_dims
        if x.dim() != dims or x.shape[1] != self.inputs:
            raise UsageError(
                f"The input of {self} must have {dims} dimensions and {self.inputs} in the second. "
                f"Got shape {list(x.shape)} instead."
            )

    def check_weight(self, weight: Tensor) -> None:
        """Refuse a weight that is not of the geometry's shape.

        Raises:
            UsageError: names both shapes.
        """
        if tuple(weight.shape) != self.weight_shape:
            raise UsageError(
                f"The weight of {self} must have shape {list(self.weight_shape)}. Got {list(weight.shape)} instead."
            )

    def by_kind(self, whose: str, **choices: Choice) -> Choice:
        """The choice for this geometry's kind; `whose` geometry it is reads as "a layer of the fixed backend".

        Raises:
            UsageError: there is none for this kind.
        """
        if self.kind not in choices:
            raise UsageError(f"The geometry of {whose} must be {' or '.join(choices)}. Got {self} instead.")
        return choices[self.kind]


class Prepared(ABC):
    """An input of a geometry, with what its MVM and its weight gradient share."""

    @property
    def sums_samples(self) -> bool:
        """`outer` sums the products of samples one by one, so that its `total` says how exactly."""
        return False

    @abstractmethod
    def mvm(self, weight: Tensor) -> Tensor:
        """`W x`, without autograd; `weight` has the dtype of the input."""

    @abstractmethod
    def outer(self, error: Tensor, total: torch.dtype | None = None) -> Tensor:
        """`sum error x^T` in the shape of the weight, without autograd; may be memory of the workspace.

        Args:
            error: `[R, outputs, ...]`, in the dtype of the input.
            total: dtype of the sum over samples where `sums_samples`; None for that of the input.
        """

    @abstractmethod
    def narrow(self, start: int, length: int) -> Prepared:
        """Samples `start` to `start + length` of this input, sharing its memory."""


class Unprepared(Prepared):
    """An input as it is, read by the functions of its geometry."""

    def __init__(self, geometry: Geometry, x: Tensor) -> None:
        self.geometry, self.x = geometry, x

    def mvm(self, weight: Tensor) -> Tensor:
        return self.geometry.mvm(self.x, weight)

    def outer(self, error: Tensor, total: torch.dtype | None = None) -> Tensor:
        return self.geometry.weight_gradient(self.x, error)

    def narrow(self, start: int, length: int) -> Prepared:
        return Unprepared(self.geometry, self.x.narrow(0, start, length))
