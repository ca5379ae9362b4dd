"""Standardisation, triangle and pooling: the parameter-free operations between two layers.

Tensors are `[N, C]` (dense) or `[N, C, H, W]` (convolutional); everything works per sample, so no statistics
leak from one sample to another and a chip can do each of them on its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

FLAT_ROUNDINGS = 8
"""A sample is constant where its values span no more than this many roundings (eps) of the largest magnitude.

Four float operations on equal values, such as a normalisation that is fused in one loop and not in another, can leave
them as far apart: each rounds by at most eps / 2 at either end, and twice that is allowed.
"""

ORDINARY = 2.0**-30, 2.0**30
"""Magnitudes whose squares can be summed as they are; a sample beyond is scaled to the nearer end before."""


def standardise(x: Tensor, padding: int = 0) -> Tensor:
    """Give every sample zero mean and unit unbiased standard deviation over all its other dimensions.

    A sample counts as constant, and becomes all zeros, where max - min <= 8 eps max|x|, with the eps of the dtype (of
    float32 for half precision): such differences are rounding. Both sides are exact, so that every implementation
    decides alike, whatever the order of its sums. Any finite sample may be given, however large or small.

    Args:
        x: `[N, ...]`, floating point.
        padding: of `[N, C, H, W]`, by reflection, before; see `reflect_pad`.
    Returns:
        The same shape, plus the padding, and dtype.
    Source: paper, Methods, "Normalization and Standardization".
    """
    return scaled_to(x, None, padding=padding)


def scaled_to(x: Tensor, divisor: float | None, flat: float | None = None, padding: int = 0) -> Tensor:
    """`standardise` with other numbers in it.

    Args:
        x: `[N, ...]`, floating point.
        divisor: of the sum of squares; None for the number of values less 1.
        flat: the largest (max - min) / max|x| of a constant sample; None for the one that `standardise` names.
    """
    values = reflect_pad(wide(x), padding)
    count = values[0].numel()
    divisor = max(count - 1, 1) if divisor is None else divisor
    flat = FLAT_ROUNDINGS * torch.finfo(values.dtype).eps if flat is None else flat
    deviation = math.sqrt(divisor / count)
    # compiled code has no branches
    if flat < 0.5 and not torch.compiler.is_compiling() and (found := _ordinary(values)) is not None:
        return (found * deviation).to(x.dtype)
    # padding by reflection repeats values, so that extremes are those of `x`, whose rows are read faster
    return _careful(values, wide(x), flat, deviation).to(x.dtype)


def _ordinary(values: Tensor) -> Tensor | None:
    """Zero mean and unit standard deviation; None unless `_careful` shifts, scales and blanks none of these samples.

    A mean within the standard deviation rules out a span of half the largest magnitude and less, and with it a
    constant sample; both together bound the magnitudes.
    """
    found, mean, inverse = _normalised(values)
    mean, inverse = mean.detach(), inverse.detach()
    least, most = inverse.aminmax()
    low, high = ORDINARY
    within = 2 * math.sqrt(values[0].numel()) / high < float(least) and float(most) < 1 / low
    return found if within and float((mean * inverse).abs().amax()) < 1 else None


def _careful(values: Tensor, like: Tensor, flat: float, deviation: float) -> Tensor:
    """Zero mean and that standard deviation of any finite samples; zeros where a sample is constant.

    The extremes of `like` are those of `values`.
    """
    # origin and gain cancel out of the result, so no gradient goes through them
    rows, sample = like.detach().flatten(1), (-1, *(1,) * (values.dim() - 1))
    high, low = rows.amax(1).view(sample), rows.amin(1).view(sample)
    span, largest = high - low, torch.maximum(high, -low)
    # differences within a factor of 2 are exact, and smaller than what a mean of the values would be rounded by
    close = span <= largest / 2
    extent = torch.where(close, span, largest)
    gain = (extent.clamp(*ORDINARY) / extent).clamp_max(torch.finfo(values.dtype).max)
    found = _normalised((values - torch.where(close, low, 0)) * gain)[0]
    # an infinite value is in no constant sample
    constant = span <= (flat * largest).clamp_max(torch.finfo(values.dtype).max)
    return found * torch.where(constant, values.new_zeros(()), deviation)


def _normalised(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Values, their means and the inverses of their standard deviations; finite for constant samples too."""
    tiny = torch.finfo(values.dtype).tiny
    if not torch.compiler.is_compiling():
        return torch.native_layer_norm(values, values.shape[1:], None, None, tiny)
    # compiled, that operation becomes Welford's loop, which is slower than two passes
    dims = tuple(range(1, values.dim()))
    mean = values.mean(dim=dims, keepdim=True)
    inverse = ((values - mean).square().mean(dim=dims, keepdim=True) + tiny).rsqrt()
    return (values - mean) * inverse, mean, inverse


def triangle(x: Tensor) -> Tensor:
    """Subtract the mean over channels at each position, then rectify: what a layer passes on.

    Args:
        x: `[N, C]` or `[N, C, H, W]`, a pre-activation.
    Source: paper, Methods, "Triangle method"; Coates, Ng and Lee (2011).
    """
    return torch.relu(x - x.mean(dim=1, keepdim=True))


def wide(x: Tensor) -> Tensor:
    """Half precision as float32, for what is squared, summed and compared; anything else as it is."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def reflect_pad(x: Tensor, padding: int) -> Tensor:
    """Pad height and width of `[N, C, H, W]` by reflection; `padding` must be smaller than both."""
    return F.pad(x, (padding,) * 4, mode="reflect") if padding else x


@dataclass(frozen=True)
class Pool:
    """Max or average pooling over `[N, C, H, W]`.

    Attributes:
        kind: `"max"` or `"avg"` (an average counts padded zeros, as PyTorch does by default).
        size, stride, padding: in positions, the same for height and width.
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
"""What a layer passes on, by recipe name."""
