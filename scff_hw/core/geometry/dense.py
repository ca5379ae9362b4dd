"""The dense geometry: every output reads every input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from scff_hw.core.geometry.base import Geometry, Prepared, Unprepared, Workspace


@dataclass(frozen=True)
class Dense(Geometry):
    """Fully connected: `x [R, inputs] -> [R, outputs]`, weight `[outputs, inputs]`."""

    kind: ClassVar[str] = "dense"
    input_dims: ClassVar[int] = 2
    flattens: ClassVar[bool] = True
    row_order: ClassVar[str] = "input"

    @property
    def weight_shape(self) -> tuple[int, ...]:
        return self.outputs, self.inputs

    @property
    def fan_out(self) -> int:
        return self.outputs

    @property
    def window(self) -> None:
        return None

    def output_shape(self, sample: tuple[int, ...]) -> tuple[int, ...]:
        return (self.outputs,)

    def rows(self, x: Tensor) -> Tensor:
        return x.contiguous()

    def columns(self, y: Tensor) -> Tensor:
        return y

    def fold(self, columns: Tensor, x: Tensor) -> Tensor:
        return columns

    def mvm(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.linear(x, weight)

    def weight_gradient(self, x: Tensor, error: Tensor) -> Tensor:
        return error.T @ x

    def prepare(self, x: Tensor, workspace: Workspace, *, exact: bool = False) -> Prepared:
        return Unprepared(self, x) if exact else BatchAsColumns(self, x, workspace)


class BatchAsColumns(Prepared):
    """A dense input whose MVM is computed as `W x^T`, with one column per sample."""

    def __init__(self, geometry: Dense, x: Tensor, workspace: Workspace) -> None:
        self.geometry, self.x, self.workspace = geometry, x, workspace

    def mvm(self, weight: Tensor) -> Tensor:
        # W x^T: a third faster than x W^T for batches far smaller than the layer
        return (weight @ self.x.T).T

    def outer(self, error: Tensor, total: torch.dtype | None = None) -> Tensor:
        # into an existing buffer: newly allocated pages cost as much as the product
        gradient = self.workspace.take("gradient", self.geometry.weight_shape, self.x)
        return torch.mm(error.T, self.x, out=gradient)

    def narrow(self, start: int, length: int) -> Prepared:
        return BatchAsColumns(self.geometry, self.x.narrow(0, start, length), self.workspace)
