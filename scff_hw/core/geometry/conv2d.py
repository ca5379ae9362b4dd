"""Stride-1 convolution of a padded input and its weight gradient, without autograd, for a few CPU cores.

The convolution and the weight gradient of an input share intermediates, which `prepare` computes once.
On a CPU there are three strategies; `choose` selects one from the shapes alone:

- ``winograd``: 3x3 kernels, see `winograd`.
- ``columns``: few inputs per kernel window. Each window becomes a row, and each call one matrix product.
- ``direct``: PyTorch's own convolution. Also on CUDA, and for bfloat16 if the processor supports it.

Newly allocated memory costs more here than the arithmetic on it, so all large intermediates are in a
`Workspace` that the caller reuses for all batches.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from scff_hw.core.geometry.base import Geometry, Prepared, Workspace
from scff_hw.core.geometry.winograd import input_tiles, tiles_along, winograd_mvm, winograd_outer
from scff_hw.errors import UsageError

Strategy = Literal["winograd", "columns", "direct"]

_WINDOW_LIMIT = 128


@dataclass(frozen=True)
class Conv2d(Geometry):
    """2-D convolution: `x [R, inputs, H, W] -> [R, outputs, H - kernel + 1, W - kernel + 1]`.

    The weight is `[outputs, inputs, kernel, kernel]`.

    Stride 1, no groups; `x` is already padded.
    """

    kind: ClassVar[str] = "conv2d"
    input_dims: ClassVar[int] = 4
    row_order: ClassVar[str] = "channel, kernel row, kernel column"

    kernel: int

    @property
    def weight_shape(self) -> tuple[int, ...]:
        return self.outputs, self.inputs, self.kernel, self.kernel

    @property
    def fan_out(self) -> int:
        return self.outputs * self.kernel**2

    @property
    def window(self) -> int:
        return self.kernel

    @property
    def label(self) -> str:
        return f"{super().label} {self.kernel}x{self.kernel}"

    def output_shape(self, sample: tuple[int, ...]) -> tuple[int, ...]:
        return self.outputs, *(side - self.kernel + 1 for side in sample[1:])

    def rows(self, x: Tensor) -> Tensor:
        return F.unfold(x, self.kernel).transpose(1, 2).flatten(0, 1).contiguous()

    def mvm(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(x, weight)

    def weight_gradient(self, x: Tensor, error: Tensor) -> Tensor:
        return conv_outer(prepare(x, self, strategy="direct"), error)

    def prepare(self, x: Tensor, workspace: Workspace, *, exact: bool = False) -> PreparedConv:
        if not exact:
            return prepare(x, self, workspace)
        # Winograd's transforms are not integers
        return prepare(x, self, workspace, "columns" if choose(x, self) == "columns" else "direct")


@dataclass(frozen=True)
class PreparedConv(Prepared):
    """A padded input `x` [N, Ci, H, W] with the intermediates shared by its convolution and its weight gradient.

    `shared` is [N, Ho * Wo, k * k * Ci] for columns (rows ordered ky, kx, channel) and
    [36, N, tiles, Ci] for winograd; it belongs to `workspace` and is valid until the next `prepare` with it.
    """

    x: Tensor
    geometry: Conv2d
    strategy: Strategy
    workspace: Workspace = field(repr=False)
    shared: Tensor | None = field(default=None, repr=False)

    @property
    def output_size(self) -> tuple[int, int]:
        """Height and width of the convolution's output, in positions."""
        return self.x.shape[2] - self.geometry.kernel + 1, self.x.shape[3] - self.geometry.kernel + 1

    @property
    def sums_samples(self) -> bool:
        return self.strategy == "columns"

    def mvm(self, weight: Tensor) -> Tensor:
        return conv_mvm(self, weight)

    def outer(self, error: Tensor, total: torch.dtype | None = None) -> Tensor:
        return conv_outer(self, error, total)

    def narrow(self, start: int, length: int) -> PreparedConv:
        """Return samples `start` to `start + length` of this input, sharing its memory."""
        shared = self.shared
        if shared is not None:
            shared = shared.narrow(1 if self.strategy == "winograd" else 0, start, length)
        return PreparedConv(self.x.narrow(0, start, length), self.geometry, self.strategy, self.workspace, shared)


def choose(x: Tensor, geometry: Conv2d) -> Strategy:
    """Return the strategy for a padded `x` [N, Ci, H, W].

    Winograd needs enough channels for its matrix products to outweigh its transforms, and a map that fills
    its 4x4 tiles well enough to at least halve the multiplications.
    """
    if x.device.type != "cpu" or (x.dtype == torch.bfloat16 and computes_bfloat16()):
        return "direct"
    n, ci = x.shape[:2]
    k, (ho, wo) = geometry.kernel, (size - geometry.kernel + 1 for size in x.shape[2:])
    tiles = tiles_along(ho) * tiles_along(wo)
    if k == 3 and ci >= 32 and geometry.outputs >= 64 and n * tiles >= 64 and 9 * ho * wo >= 72 * tiles:
        return "winograd"
    return "columns" if ci * k * k <= _WINDOW_LIMIT else "direct"


@torch.no_grad()
def prepare(
    x: Tensor, geometry: Conv2d, workspace: Workspace | None = None, strategy: Strategy | None = None
) -> PreparedConv:
    """Compute the intermediates shared by `conv_mvm` and `conv_outer` for one padded input.

    Args:
        x: `[N, inputs, H, W]` in float32, float64 or bfloat16, padding included, best in channels_last.
            If the processor has no bfloat16 products, they are computed in float32 and rounded.
        geometry: geometry of the layer.
        workspace: buffers of the intermediates; None for a new one.
        strategy: overrides the result of `choose`; "winograd" is for 3x3 kernels on a CPU only.

    Raises:
        UsageError: `x` has another shape, or is smaller than the kernel.
    """
    if x.dim() != 4 or x.shape[1] != geometry.inputs or min(x.shape[2:]) < geometry.kernel:
        raise UsageError(
            f"The input of {geometry} must have shape [N, {geometry.inputs}, H, W], H and W at least "
            f"{geometry.kernel}. Got {list(x.shape)} instead."
        )
    workspace = workspace or Workspace()
    strategy = strategy or choose(x, geometry)
    if strategy == "direct":
        return PreparedConv(_native(x), geometry, strategy, workspace)
    rows = _working(x.permute(0, 2, 3, 1)).contiguous()
    shared = input_tiles(rows, workspace) if strategy == "winograd" else _columns(rows, geometry, workspace)
    return PreparedConv(x, geometry, strategy, workspace, shared)


@torch.no_grad()
def conv_mvm(x: PreparedConv, weight: Tensor, out: Tensor | None = None) -> Tensor:
    """Return the convolution of a prepared input with `weight`.

    Args:
        x: returned by `prepare`.
        weight: `[outputs, inputs, k, k]`.
        out: optional tensor for the result: channels_last, with the result's shape and dtype.

    Returns:
        `[N, outputs, H - k + 1, W - k + 1]`, channels_last on a CPU, in the dtype of the input.

    Raises:
        UsageError: `weight` or `out` has another shape.
    """
    n, (ho, wo), co = x.x.shape[0], x.output_size, x.geometry.outputs
    _check("weight", weight, x.geometry.weight_shape)
    if out is not None:
        _check("output", out, (n, co, ho, wo))
    if x.shared is None:
        result = F.conv2d(x.x, _native(weight.to(x.x.dtype)))
        return _native(result) if out is None else out.copy_(result)
    kernels = weight.to(x.shared.dtype)
    in_place = out is not None and out.dtype == x.shared.dtype and out.permute(0, 2, 3, 1).is_contiguous()
    rows = out.permute(0, 2, 3, 1) if out is not None and in_place else x.shared.new_empty(n, ho, wo, co)
    if x.strategy == "winograd":
        winograd_mvm(x.shared, kernels, rows, x.workspace)
    else:
        windows = kernels.permute(2, 3, 1, 0).reshape(-1, co)
        torch.bmm(x.shared, windows.expand(n, -1, -1), out=rows.view(n, ho * wo, co))
    result = rows.permute(0, 3, 1, 2)
    if out is not None:
        return out if in_place else out.copy_(result)
    return result.to(x.x.dtype)


@torch.no_grad()
def conv_outer(x: PreparedConv, error: Tensor, total: torch.dtype | None = None) -> Tensor:
    """Return the weight gradient: the outer products of error and input, summed over samples and positions.

    Args:
        x: returned by `prepare`.
        error: `[N, outputs, H - k + 1, W - k + 1]`, best in channels_last.
        total: dtype of the sum over samples for the strategy columns; None for the dtype of the input.

    Returns:
        `[outputs, inputs, k, k]`, contiguous, in the dtype of the input or in `total`.

    Raises:
        UsageError: `error` has another shape.
    """
    n, (ho, wo), g = x.x.shape[0], x.output_size, x.geometry
    _check("error", error, (n, g.outputs, ho, wo))
    if x.shared is None:
        shape = x.x.new_empty(()).expand(g.weight_shape)
        error, one, zero = _native(error.to(x.x.dtype)), [1, 1], [0, 0]
        _, gradient, _ = torch.ops.aten.convolution_backward(
            error, x.x, shape, None, one, zero, one, False, zero, 1, [False, True, False]
        )
        return gradient.contiguous()
    rows = _working(error.permute(0, 2, 3, 1)).to(x.shared.dtype).contiguous()
    if x.strategy == "winograd":
        gradient = winograd_outer(x.shared, rows, x.workspace)
    else:
        # one product per sample: PyTorch distributes a batch of products over the cores, but not one long sum
        products = torch.bmm(x.shared.transpose(1, 2), rows.view(n, ho * wo, g.outputs)).sum(0, dtype=total)
        gradient = products.view(g.kernel, g.kernel, g.inputs, g.outputs).permute(3, 2, 0, 1)
    return gradient.to(total or x.x.dtype).contiguous()


@lru_cache(maxsize=1)
def computes_bfloat16() -> bool:
    """Return True if this machine's processor has instructions for bfloat16 products."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def _check(what: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != shape:
        raise UsageError(
            f"The {what} of this convolution must have shape {list(shape)}. Got {list(tensor.shape)} instead."
        )


def _native(x: Tensor) -> Tensor:
    """Return `x` in channels_last on a CPU, the fastest layout for PyTorch's convolutions there; else unchanged."""
    return x.contiguous(memory_format=torch.channels_last) if x.device.type == "cpu" else x


def _working(x: Tensor) -> Tensor:
    return x.float() if x.dtype == torch.bfloat16 else x


def _columns(rows: Tensor, geometry: Conv2d, workspace: Workspace) -> Tensor:
    n, h, w, c = rows.shape
    k = geometry.kernel
    ho, wo = h - k + 1, w - k + 1
    columns = workspace.take("shared", (n, ho * wo, k * k * c), rows)
    # k adjacent pixels are one run of memory, so a window is k runs
    windows = rows.as_strided((n, ho, wo, k, k * c), (h * w * c, w * c, c, w * c, 1))
    columns.view(n, ho, wo, k, k * c).copy_(windows)
    return columns
