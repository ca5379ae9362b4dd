"""Convolution with 3x3 kernels in fewer multiplications: tiles of 4x4 outputs become 36 matrix products.

Four times fewer multiplications than direct convolution. Source: Lavin and Gray, arXiv 1509.09308, F(4x4, 3x3).
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from scff_hw.core.geometry.base import Workspace

OUTPUTS = 4
"""Outputs along each side of a Winograd tile; a tile reads `OUTPUTS + 2` inputs."""
POINTS = (0.0, 0.625, -0.625, 1.5, -1.5)
"""Interpolation points, exact in binary; their float32 error is half that of the usual 0, 1, -1, 2, -2."""

_CHUNK_TILES = 1024
_CHUNK_ELEMENTS = 1 << 24


def tiles_along(length: int) -> int:
    return -(-length // OUTPUTS)


@lru_cache(maxsize=8)
def _matrices(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Return matrices that transform input tiles [36, 36], kernels [36, 9] and error tiles [36, 16], both axes at once.

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


def input_tiles(rows: Tensor, workspace: Workspace) -> Tensor:
    """Return the transformed input tiles [36, N, tiles, C] of `rows` [N, H, W, C]."""
    n, h, w, c = rows.shape
    th, tw = tiles_along(h - 2), tiles_along(w - 2)
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
    """Return the number of output channels per chunk (nearly equal chunks), so that the workspace stays small."""
    parts = -(-outputs * tiles * (OUTPUTS + 2) ** 2 // _CHUNK_ELEMENTS)
    return -(-outputs // parts)


def _by_tiles(rows: Tensor) -> Tensor:
    """View `rows` [N, 4 th, 4 tw, C] as [4, 4, N, th, tw, C]."""
    n, h, w, c = rows.shape
    return rows.view(n, h // OUTPUTS, OUTPUTS, w // OUTPUTS, OUTPUTS, c).permute(2, 4, 0, 1, 3, 5)


def winograd_mvm(shared: Tensor, weight: Tensor, out: Tensor, workspace: Workspace) -> None:
    """Write the convolution of `input_tiles` `shared` with `weight` [Co, Ci, 3, 3] into `out` [N, Ho, Wo, Co]."""
    positions, n, tiles, ci = shared.shape
    co, ho, wo = weight.shape[0], out.shape[1], out.shape[2]
    _, kernels, errors = _matrices(out.dtype)
    whole = (tiles_along(ho) * OUTPUTS, tiles_along(wo) * OUTPUTS)
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


def winograd_outer(shared: Tensor, error: Tensor, workspace: Workspace) -> Tensor:
    """Return the weight gradient [Co, Ci, 3, 3] from `input_tiles` `shared` and `error` [N, Ho, Wo, Co]."""
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
