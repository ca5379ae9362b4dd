"""Stride-1 convolution of a padded input and its weight gradient, without autograd, for a few CPU cores.

One input is convolved and then meets its error, so what the two calls share is computed once, by `prepare`.
On a CPU three strategies do the work; `choose` picks one from the shapes alone:

- ``winograd``: 3x3 kernels. Tiles of 4x4 outputs become 36 matrix products, four times fewer multiplications
  than the definition (Lavin and Gray, arXiv 1509.09308, F(4x4, 3x3)).
- ``columns``: few inputs a kernel window. Every window becomes a row, and each call one matrix product.
- ``direct``: PyTorch's own convolution. Also on CUDA, and for bfloat16 where the processor computes it.

Touching fresh memory costs more here than the arithmetic on it, so all large intermediates live in a
`Workspace` that the caller keeps from batch to batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from math import prod
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from scff_hw.core.arrays import Conv2d
from scff_hw.errors import UsageError

Strategy = Literal["winograd", "columns", "direct"]

OUTPUTS = 4
"""Outputs along each side of a Winograd tile; a tile reads `OUTPUTS + 2` inputs."""
POINTS = (0.0, 0.625, -0.625, 1.5, -1.5)
"""Interpolation points, exact in binary; their float32 error is half that of the usual 0, 1, -1, 2, -2."""

_WINDOW_LIMIT = 128
_CHUNK_TILES = 1024
_CHUNK_ELEMENTS = 1 << 24


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
class Prepared:
    """A padded input `x` [N, Ci, H, W] with what its convolution and its weight gradient share.

    `shared` is [N, Ho * Wo, k * k * Ci] for columns (rows ordered ky, kx, channel) and
    [36, N, tiles, Ci] for winograd; it belongs to `workspace` and lasts until the next `prepare` with it.
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

    def narrow(self, start: int, length: int) -> Prepared:
        """Return samples `start` to `start + length` of this input, sharing its memory."""
        shared = self.shared
        if shared is not None:
            shared = shared.narrow(1 if self.strategy == "winograd" else 0, start, length)
        return Prepared(self.x.narrow(0, start, length), self.geometry, self.strategy, self.workspace, shared)


def choose(x: Tensor, geometry: Conv2d) -> Strategy:
    """Return the strategy for a padded `x` [N, Ci, H, W].

    Winograd needs enough channels for its matrix products to outweigh its transforms, and a map that fills
    its 4x4 tiles well enough to halve the multiplications at least.
    """
    if x.device.type != "cpu" or (x.dtype == torch.bfloat16 and computes_bfloat16()):
        return "direct"
    n, ci = x.shape[:2]
    k, (ho, wo) = geometry.kernel, (size - geometry.kernel + 1 for size in x.shape[2:])
    tiles = _tiles(ho) * _tiles(wo)
    if k == 3 and ci >= 32 and geometry.outputs >= 64 and n * tiles >= 64 and 9 * ho * wo >= 72 * tiles:
        return "winograd"
    return "columns" if ci * k * k <= _WINDOW_LIMIT else "direct"


@torch.no_grad()
def prepare(
    x: Tensor, geometry: Conv2d, workspace: Workspace | None = None, strategy: Strategy | None = None
) -> Prepared:
    """Compute what `conv_mvm` and `conv_outer` of one padded input share.

    Args:
        x: `[N, inputs, H, W]` in float32, float64 or bfloat16, padding included, best in channels_last.
            Where the processor has no bfloat16 products, they are computed in float32 and rounded.
        geometry: of the layer.
        workspace: holds the intermediates; a fresh one where None.
        strategy: in place of what `choose` returns; "winograd" is for 3x3 kernels on a CPU only.

    Raises:
        UsageError: `x` is not such an input, or smaller than the kernel.
    """
    if x.dim() != 4 or x.shape[1] != geometry.inputs or min(x.shape[2:]) < geometry.kernel:
        raise UsageError(
            f"The input of {geometry} must have shape [N, {geometry.inputs}, H, W], H and W at least "
            f"{geometry.kernel}. Got {list(x.shape)} instead."
        )
    workspace = workspace or Workspace()
    strategy = strategy or choose(x, geometry)
    if strategy == "direct":
        return Prepared(_native(x), geometry, strategy, workspace)
    rows = _working(x.permute(0, 2, 3, 1)).contiguous()
    shared = _input_tiles(rows, workspace) if strategy == "winograd" else _columns(rows, geometry, workspace)
    return Prepared(x, geometry, strategy, workspace, shared)


@torch.no_grad()
def conv_mvm(x: Prepared, weight: Tensor, out: Tensor | None = None) -> Tensor:
    """Convolve.

    Args:
        x: what `prepare` returned.
        weight: `[outputs, inputs, k, k]`.
        out: receives the result, where given: channels_last, of the result's shape and dtype.

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
        _winograd_mvm(x.shared, kernels, rows, x.workspace)
    else:
        windows = kernels.permute(2, 3, 1, 0).reshape(-1, co)
        torch.bmm(x.shared, windows.expand(n, -1, -1), out=rows.view(n, ho * wo, co))
    result = rows.permute(0, 3, 1, 2)
    if out is not None:
        return out if in_place else out.copy_(result)
    return result.to(x.x.dtype)


@torch.no_grad()
def conv_outer(x: Prepared, error: Tensor, total: torch.dtype | None = None) -> Tensor:
    """The weight gradient: the outer products of error and input, summed over samples and positions.

    Args:
        x: what `prepare` returned.
        error: `[N, outputs, H - k + 1, W - k + 1]`, best in channels_last.
        total: in which the samples' sums are added up where the strategy is columns; None: the dtype of the input.

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
        gradient = _winograd_outer(x.shared, rows, x.workspace)
    else:
        # one product a sample: PyTorch spreads a batch of them over the cores, and not one product's long sum
        products = torch.bmm(x.shared.transpose(1, 2), rows.view(n, ho * wo, g.outputs)).sum(0, dtype=total)
        gradient = products.view(g.kernel, g.kernel, g.inputs, g.outputs).permute(3, 2, 0, 1)
    return gradient.to(total or x.x.dtype).contiguous()


@lru_cache(maxsize=1)
def computes_bfloat16() -> bool:
    """Whether this machine's processor has instructions for bfloat16 products."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def _check(what: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != shape:
        raise UsageError(
            f"The {what} of this convolution must have shape {list(shape)}. Got {list(tensor.shape)} instead."
        )


def _native(x: Tensor) -> Tensor:
    """PyTorch's CPU convolutions are fastest in channels_last; on a GPU the caller's layout stays."""
    return x.contiguous(memory_format=torch.channels_last) if x.device.type == "cpu" else x


def _working(x: Tensor) -> Tensor:
    return x.float() if x.dtype == torch.bfloat16 else x


def _columns(rows: Tensor, geometry: Conv2d, workspace: Workspace) -> Tensor:
    n, h, w, c = rows.shape
    k = geometry.kernel
    ho, wo = h - k + 1, w - k + 1
    columns = workspace.take("shared", (n, ho * wo, k * k * c), rows)
    # k pixels side by side are one run of memory, so a window is k runs
    windows = rows.as_strided((n, ho, wo, k, k * c), (h * w * c, w * c, c, w * c, 1))
    columns.view(n, ho, wo, k, k * c).copy_(windows)
    return columns


def _tiles(length: int) -> int:
    return -(-length // OUTPUTS)


@lru_cache(maxsize=8)
def _matrices(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Transforms of input tiles [36, 36], kernels [36, 9] and error tiles [36, 16], both axes at once.

    With `V` the Vandermonde matrix of the points and infinity, Toom-Cook interpolation transposed gives the
    convolution `A^T [(G g) * (V^-T d)]`, where `A` and `G` are `V` cut to the lengths of outputs and kernel.
    """
    size = OUTPUTS + 2

    def vandermonde(columns: int) -> Tensor:
        powers = [[point**power for power in range(columns)] for point in POINTS]
        infinity = [float(power == columns - 1) for power in range(columns)]
        return torch.tensor([*powers, infinity], dtype=torch.float64, device="cpu")

    one_axis = (torch.linalg.inv(vandermonde(size)).T.contiguous(), vandermonde(3), vandermonde(OUTPUTS))
    inputs, kernels, errors = (torch.kron(m, m).to(dtype) for m in one_axis)
    return inputs, kernels, errors


def _samples_a_chunk(tiles: int) -> int:
    return max(1, _CHUNK_TILES // tiles)


def _input_tiles(rows: Tensor, workspace: Workspace) -> Tensor:
    """Transform `rows` [N, H, W, C] into [36, N, tiles, C]."""
    n, h, w, c = rows.shape
    th, tw = _tiles(h - 2), _tiles(w - 2)
    hp, wp = th * OUTPUTS + 2, tw * OUTPUTS + 2
    if (hp, wp) != (h, w):
        rows = F.pad(rows, (0, 0, 0, wp - w, 0, hp - h))
    size = OUTPUTS + 2
    overlapping = rows.as_strided(
        (size, size, n, th, tw, c), (wp * c, c, hp * wp * c, OUTPUTS * wp * c, OUTPUTS * c, 1)
    )
    transform = _matrices(rows.dtype)[0]
    tiles = workspace.take("shared", (size**2, n, th * tw, c), rows)
    step = _samples_a_chunk(th * tw)
    for start in range(0, n, step):
        count = min(step, n - start)
        gathered = workspace.take("tiles", (size**2, count * th * tw * c), rows)
        gathered.view(size, size, count, th, tw, c).copy_(overlapping[:, :, start : start + count])
        flat = tiles.view(size**2, -1)[:, start * th * tw * c : (start + count) * th * tw * c]
        torch.mm(transform, gathered, out=flat)
    return tiles


def _output_chunk(outputs: int, tiles: int) -> int:
    """How many outputs to transform at once, in equal parts, so that the workspace stays small."""
    parts = -(-outputs * tiles * (OUTPUTS + 2) ** 2 // _CHUNK_ELEMENTS)
    return -(-outputs // parts)


def _by_tiles(rows: Tensor) -> Tensor:
    """View `rows` [N, 4 th, 4 tw, C] as [4, 4, N, th, tw, C]."""
    n, h, w, c = rows.shape
    return rows.view(n, h // OUTPUTS, OUTPUTS, w // OUTPUTS, OUTPUTS, c).permute(2, 4, 0, 1, 3, 5)


def _winograd_mvm(shared: Tensor, weight: Tensor, out: Tensor, workspace: Workspace) -> None:
    """Write the convolution into `out` [N, Ho, Wo, Co]."""
    positions, n, tiles, ci = shared.shape
    co, ho, wo = weight.shape[0], out.shape[1], out.shape[2]
    _, kernels, errors = _matrices(out.dtype)
    whole = (_tiles(ho) * OUTPUTS, _tiles(wo) * OUTPUTS)
    padded = out if whole == (ho, wo) else workspace.take("padded", (n, *whole, co), out)
    step = min(n, _samples_a_chunk(tiles))
    width = _output_chunk(co, step * tiles)
    for first in range(0, co, width):
        part = weight[first : first + width]
        transformed = workspace.take("kernels", (positions, len(part), ci), out)
        torch.mm(kernels, part.reshape(-1, 9).T, out=transformed.view(positions, -1))
        for start in range(0, n, step):
            count = min(step, n - start)
            product = workspace.take("products", (positions, count * tiles, len(part)), out)
            inputs = shared[:, start : start + count].flatten(1, 2)
            torch.bmm(inputs, transformed.transpose(1, 2), out=product)
            outputs = workspace.take("tiles", (OUTPUTS**2, count * tiles * len(part)), out)
            torch.mm(errors.T, product.view(positions, -1), out=outputs)
            target = _by_tiles(padded[start : start + count, ..., first : first + width])
            target.copy_(outputs.view(target.shape))
    if padded is not out:
        out.copy_(padded[:, :ho, :wo])


def _winograd_outer(shared: Tensor, error: Tensor, workspace: Workspace) -> Tensor:
    """Return [Co, Ci, 3, 3] from the input's tiles and `error` [N, Ho, Wo, Co]."""
    positions, n, tiles, ci = shared.shape
    _, ho, wo, co = error.shape
    _, kernels, errors = _matrices(error.dtype)
    pad_h, pad_w = -ho % OUTPUTS, -wo % OUTPUTS
    if pad_h or pad_w:
        error = F.pad(error, (0, 0, 0, pad_w, 0, pad_h))
    gradient = error.new_empty(co * ci, 9)
    step = min(n, _samples_a_chunk(tiles))
    width = _output_chunk(co, step * tiles)
    for first in range(0, co, width):
        outputs = min(width, co - first)
        total = workspace.take("kernels", (positions, outputs, ci), error)
        for start in range(0, n, step):
            count = min(step, n - start)
            source = _by_tiles(error[start : start + count, ..., first : first + outputs])
            gathered = workspace.take("tiles", (OUTPUTS**2, count * tiles * outputs), error)
            gathered.view(source.shape).copy_(source)
            product = workspace.take("products", (positions, count * tiles, outputs), error)
            torch.mm(errors, gathered, out=product.view(positions, -1))
            inputs = shared[:, start : start + count].flatten(1, 2)
            torch.baddbmm(total, product.transpose(1, 2), inputs, beta=float(start > 0), out=total)
        # a product with nine columns is slow, one with nine rows and a transposing copy is not
        gradient[first * ci : (first + outputs) * ci].copy_(torch.mm(kernels.T, total.view(positions, -1)).T)
    return gradient.view(co, ci, 3, 3)
