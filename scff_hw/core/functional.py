"""Standardisation, triangle and pooling: the parameter-free operations between two layers.

Tensors are `[N, C]` (dense) or `[N, C, H, W]` (convolutional); everything works per sample, so no statistics
leak from one sample to another and a chip can do each of them on its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

STD_EPSILON = 1e-10
"""Added to a standard deviation before dividing by it (authors' code; the paper names no value)."""


def standardise(x: Tensor) -> Tensor:
    """Give every sample zero mean and unit unbiased standard deviation over all its other dimensions.

    Args:
        x: `[N, ...]`, floating point.
    Returns:
        The same shape and dtype. A constant sample becomes all zeros.
    Source: paper, Methods, "Normalization and Standardization".
    """
    dims = tuple(range(1, x.dim()))
    centred = x - x.mean(dim=dims, keepdim=True)
    count = x[0].numel() - 1
    std = (centred.square().sum(dim=dims, keepdim=True) / count).sqrt()
    return centred / (std + STD_EPSILON)


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
