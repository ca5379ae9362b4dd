"""Standardisation, triangle and pooling: the parameter-free operations between two layers.

Tensors are `[N, C]` (dense) or `[N, C, H, W]` (convolutional). All operations are per sample: no statistics leak
between samples, and a chip can process samples one at a time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

FLAT_ROUNDINGS = 8
"""A sample is constant if max - min is at most this number times eps times max|x|, with the eps of the dtype.

The number is twice the difference that four float operations on equal values can cause, such as a normalisation fused
in one loop and not in another: each rounds by at most eps / 2 at either end.
"""

ORDINARY = 2.0**-30, 2.0**30
"""Range of magnitudes whose squares can be summed directly; samples outside are first scaled to the nearer end."""


def standardise(x: Tensor, padding: int = 0) -> Tensor:
    """Scale each sample to zero mean and unit unbiased standard deviation, over all dimensions but the first.

    A constant sample becomes all zeros. It is constant if max - min <= 8 eps max|x|, with the eps of the dtype (of
    float32 for half precision): such differences are rounding errors. Both sides are computed exactly, so the result
    of the comparison is independent of the order of summation. Samples may have any finite magnitude.

    Args:
        x: `[N, ...]`, floating point.
        padding: reflection padding of `[N, C, H, W]`, applied first; see `reflect_pad`.
    Returns:
        Same shape, plus the padding, and same dtype.
    Source: paper, Methods, "Normalization and Standardization".
    """
    return scaled_to(x, None, padding=padding)


def scaled_to(x: Tensor, divisor: float | None, flat: float | None = None, padding: int = 0) -> Tensor:
    """Return `x` standardised as in `standardise`, with another divisor or threshold for constant samples.

    Args:
        x: `[N, ...]`, floating point.
        divisor: divisor of the sum of squares; None for the number of values less 1.
        flat: the largest (max - min) / max|x| of a constant sample; None for the threshold of `standardise`.
        padding: as in `standardise`.
    """
    values = reflect_pad(wide(x), padding)
    count = values[0].numel()
    divisor = max(count - 1, 1) if divisor is None else divisor
    flat = FLAT_ROUNDINGS * torch.finfo(values.dtype).eps if flat is None else flat
    deviation = math.sqrt(divisor / count)
    # compiled code has no branches
    if flat < 0.5 and not torch.compiler.is_compiling() and (normalised := _ordinary(values)) is not None:
        return (normalised * deviation).to(x.dtype)
    # reflection padding repeats values, so the extremes are those of `x`, whose rows are read faster
    return _careful(values, wide(x), flat, deviation).to(x.dtype)


def _ordinary(values: Tensor) -> Tensor | None:
    """Return samples of zero mean, unit standard deviation; None if any needs `_careful` (shift, scale, zeros).

    If |mean| is below the standard deviation, max - min exceeds half the largest magnitude, so the sample is not
    constant; mean and standard deviation together bound the magnitudes.
    """
    normalised, mean, inverse = _normalised(values)
    mean, inverse = mean.detach(), inverse.detach()
    least, most = inverse.aminmax()
    low, high = ORDINARY
    within = 2 * math.sqrt(values[0].numel()) / high < float(least) and float(most) < 1 / low
    return normalised if within and float((mean * inverse).abs().amax()) < 1 else None


def _careful(values: Tensor, like: Tensor, flat: float, deviation: float) -> Tensor:
    """Return finite samples scaled to zero mean and standard deviation `deviation`; constant samples become zeros.

    `like`, the samples without padding, has the same extremes as `values`.
    """
    # offset and gain cancel in the result, so they need no gradient
    rows, sample = like.detach().flatten(1), (-1, *(1,) * (values.dim() - 1))
    high, low = rows.amax(1).view(sample), rows.amin(1).view(sample)
    span, largest = high - low, torch.maximum(high, -low)
    # differences within a factor of 2 are exact, and smaller than the rounding of a mean of the values
    close = span <= largest / 2
    extent = torch.where(close, span, largest)
    gain = (extent.clamp(*ORDINARY) / extent).clamp_max(torch.finfo(values.dtype).max)
    normalised = _normalised((values - torch.where(close, low, 0)) * gain)[0]
    # a sample with an infinite value is not constant
    constant = span <= (flat * largest).clamp_max(torch.finfo(values.dtype).max)
    return normalised * torch.where(constant, values.new_zeros(()), deviation)


def _normalised(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return normalised values, and mean and inverse standard deviation per sample; finite for constant samples too."""
    tiny = torch.finfo(values.dtype).tiny
    if not torch.compiler.is_compiling():
        return torch.native_layer_norm(values, values.shape[1:], None, None, tiny)
    # compiled, that operation becomes Welford's loop, which is slower than two passes
    dims = tuple(range(1, values.dim()))
    mean = values.mean(dim=dims, keepdim=True)
    inverse = ((values - mean).square().mean(dim=dims, keepdim=True) + tiny).rsqrt()
    return (values - mean) * inverse, mean, inverse


def triangle(x: Tensor) -> Tensor:
    """Subtract the mean over channels at each position, then rectify: the output of a layer.

    Args:
        x: `[N, C]` or `[N, C, H, W]`, a pre-activation.
    Source: paper, Methods, "Triangle method"; Coates, Ng and Lee (2011).
    """
    return torch.relu(x - x.mean(dim=1, keepdim=True))


def wide(x: Tensor) -> Tensor:
    """Return half-precision values converted to float32, for squares, sums and comparisons; other dtypes unchanged."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def reflect_pad(x: Tensor, padding: int) -> Tensor:
    """Pad height and width of `[N, C, H, W]` by reflection; `padding` must be smaller than both."""
    return F.pad(x, (padding,) * 4, mode="reflect") if padding else x


@dataclass(frozen=True)
class Pool:
    """Max or average pooling over `[N, C, H, W]`.

    Attributes:
        kind: `"max"` or `"avg"` (an average counts padded zeros, as PyTorch does by default).
        size, stride, padding: numbers of positions, the same for height and width.
        ceil: keep the last, partial window (`ceil_mode`).
    Source: paper, Table D.1.
    """

    kind: Literal["max", "avg"]
    size: int
    stride: int
    padding: int = 0
    ceil: bool = True

    def __call__(self, x: Tensor) -> Tensor:
        pool = F.max_pool2d if self.kind == "max" else F.avg_pool2d
        return pool(x, self.size, self.stride, self.padding, ceil_mode=self.ceil)


TRANSMIT = {"triangle": triangle, "relu": torch.relu}
"""Output functions of a layer, by their name in a recipe."""
