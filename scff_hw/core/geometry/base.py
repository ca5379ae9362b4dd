"""The common interface of geometries, e.g. dense or convolution; callers need not distinguish kinds.

An array owns a weight matrix `[outputs, fan_in]`. Its geometry maps an input to rows for the matrix, and the products
to the output shape:

    x [R, ...] --rows--> [R * positions, fan_in] --(weight)--> [R * positions, outputs] --fold--> u [R, outputs, ...]
    error [R, outputs, ...] --columns--> [R * positions, outputs]

To add a geometry, subclass `Geometry` and implement its abstract methods. Layers, rules and the backends `float` and
`analog` then work with it: `mvm` and `weight_gradient` default to `rows`. Override them, or `prepare`, with faster
versions. Code that supports only some kinds, such as an exporter, rejects others through `by_kind`.
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
    """Buffers reused across calls; create one workspace per layer, and use it from one thread.

    A tensor returned for a name stays valid until that name is taken again.
    """

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}

    def take(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Return an uninitialised contiguous tensor of `shape`, with the dtype and device of `like`."""
        count = prod(shape)
        buffer = self._buffers.get(name)
        if buffer is None or buffer.numel() < count or buffer.dtype != like.dtype or buffer.device != like.device:
            self._buffers.pop(name, None)
            buffer = self._buffers[name] = torch.empty(count, dtype=like.dtype, device=like.device)
        return buffer[:count].view(shape)

    @property
    def bytes(self) -> int:
        """Size of all buffers, in bytes."""
        return sum(b.numel() * b.element_size() for b in self._buffers.values())


@dataclass(frozen=True)
class Geometry(ABC):
    """How a weight matrix is applied to its input, e.g. as a dense layer or a convolution. Immutable.

    Attributes:
        inputs: size of dimension 1 of an input.
        outputs: rows of the weight matrix, dimension 1 of an output.
        kind: name in files and in `by_kind`, such as "dense".
        input_dims: number of dimensions of an input, rows included.
        flattens: the layer flattens each sample before it passes the input to this geometry.
        row_order: axes of the fan_in values of a row, outermost first.
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
        """Shape of the weight; flattened from dimension 1, it is the weight matrix `[outputs, fan_in]`."""

    @property
    def fan_in(self) -> int:
        """Columns of the weight matrix: number of input values per output."""
        return prod(self.weight_shape[1:])

    @property
    @abstractmethod
    def fan_out(self) -> int:
        """Number of output values per input value."""

    @property
    @abstractmethod
    def window(self) -> int | None:
        """Side of the square window that one output reads, in positions; None for geometries without positions."""

    @property
    def label(self) -> str:
        """Kind and size for tables, e.g. "dense 784x500"."""
        return f"{self.kind} {self.inputs}x{self.outputs}"

    def input_shape(self, side: int) -> tuple[int, ...]:
        """Return the input shape of one sample with `side` positions per axis."""
        return self.inputs, *(side,) * (self.input_dims - 2)

    @abstractmethod
    def output_shape(self, sample: tuple[int, ...]) -> tuple[int, ...]:
        """Return the output shape of one sample, from its input shape (padding included), both without batch."""

    @abstractmethod
    def rows(self, x: Tensor) -> Tensor:
        """Return the input `x` as contiguous rows `[R * positions, fan_in]` for the weight matrix."""

    def columns(self, y: Tensor) -> Tensor:
        """Return the outputs or errors `[R, outputs, ...]` as `[R * positions, outputs]`, in the order of `rows`."""
        return y.movedim(1, -1).flatten(0, -2)

    def fold(self, columns: Tensor, x: Tensor) -> Tensor:
        """Reshape `columns` `[R * positions, outputs]` to the outputs `[R, outputs, ...]` of the input `x`."""
        _, *positions = self.output_shape(tuple(x.shape[1:]))
        return columns.view(len(x), *positions, columns.shape[1]).movedim(-1, 1)

    def mvm(self, x: Tensor, weight: Tensor) -> Tensor:
        """Return `W x` for every row and position `[R, outputs, ...]`; differentiable by autograd."""
        return self.fold(self.rows(x) @ weight.flatten(1).T, x)

    def weight_gradient(self, x: Tensor, error: Tensor) -> Tensor:
        """Return `sum error x^T` over rows and positions, in the shape of the weight."""
        return (self.columns(error).T @ self.rows(x)).view(self.weight_shape)

    def prepare(self, x: Tensor, workspace: Workspace, *, exact: bool = False) -> Prepared:
        """Return input `x` with the intermediates that its MVM and its weight gradient share.

        Args:
            workspace: buffers of the intermediates; the result is valid until the next call with it.
            exact: `x` contains integers, so neither product may transform it; samples stay rows in memory.

        Raises:
            UsageError: `x` is not a valid input.
        """
        return Unprepared(self, x)

    def check_input(self, x: Tensor) -> None:
        """Check that `x` is a valid input of this geometry.

        Raises:
            UsageError: another shape; the message names it.
        """
        dims = self.input_dims
        if x.dim() != dims or x.shape[1] != self.inputs:
            raise UsageError(
                f"The input of {self} must have {dims} dimensions and {self.inputs} in the second. "
                f"Got shape {list(x.shape)} instead."
            )

    def check_weight(self, weight: Tensor) -> None:
        """Check that `weight` has this geometry's shape.

        Raises:
            UsageError: the shapes differ; the message names both.
        """
        if tuple(weight.shape) != self.weight_shape:
            raise UsageError(
                f"The weight of {self} must have shape {list(self.weight_shape)}. Got {list(weight.shape)} instead."
            )

    def by_kind(self, whose: str, **choices: Choice) -> Choice:
        """Return the value in `choices` for this kind; messages name `whose`, e.g. "a layer of the fixed backend".

        Raises:
            UsageError: `choices` has no value for this kind.
        """
        if self.kind not in choices:
            raise UsageError(f"The geometry of {whose} must be {' or '.join(choices)}. Got {self} instead.")
        return choices[self.kind]


class Prepared(ABC):
    """An input of a geometry, with the intermediates that its MVM and its weight gradient share."""

    @property
    def sums_samples(self) -> bool:
        """True if `outer` sums one product per sample, in the dtype of its argument `total`."""
        return False

    @abstractmethod
    def mvm(self, weight: Tensor) -> Tensor:
        """Return `W x`, without autograd; `weight` has the dtype of the input."""

    @abstractmethod
    def outer(self, error: Tensor, total: torch.dtype | None = None) -> Tensor:
        """Return `sum error x^T` in the shape of the weight, without autograd; may be a workspace buffer.

        Args:
            error: `[R, outputs, ...]`, in the dtype of the input.
            total: dtype of the sum over samples if `sums_samples`; None for that of the input.
        """

    @abstractmethod
    def narrow(self, start: int, length: int) -> Prepared:
        """Return the samples `start` to `start + length` of this input, sharing its memory."""


class Unprepared(Prepared):
    """An input without intermediates, processed by the methods of its geometry."""

    def __init__(self, geometry: Geometry, x: Tensor) -> None:
        self.geometry, self.x = geometry, x

    def mvm(self, weight: Tensor) -> Tensor:
        return self.geometry.mvm(self.x, weight)

    def outer(self, error: Tensor, total: torch.dtype | None = None) -> Tensor:
        return self.geometry.weight_gradient(self.x, error)

    def narrow(self, start: int, length: int) -> Prepared:
        return Unprepared(self.geometry, self.x.narrow(0, start, length))
