"""Random initial weights and biases of arrays."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from scff_hw.core.geometry import Geometry


def initial_weights(geometry: Geometry, kind: str, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw float32 weights (`geometry.weight_shape`) and biases `[outputs]`, uniform around zero.

    Biases are within 1 / sqrt(fan_in).

    Args:
        kind: "linear", weights within 1 / sqrt(fan_in) (PyTorch's default for a linear layer), or "xavier",
            weights within sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010).
    """
    bias_bound = 1 / math.sqrt(geometry.fan_in)
    weight_bound = bias_bound if kind == "linear" else math.sqrt(6 / (geometry.fan_in + geometry.fan_out))
    return _uniform(geometry, weight_bound, bias_bound, generator)


def initial_recurrent_weights(geometry: Geometry, units: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw float32 weights (`geometry.weight_shape`) and biases `[outputs]` for one array of a recurrent layer.

    All are uniform within 1 / sqrt(units) (PyTorch's default). With more units than features, the input contributes
    less to a unit's pre-activation than the state does.
    """
    bound = 1 / math.sqrt(units)
    return _uniform(geometry, bound, bound, generator)


def _uniform(
    geometry: Geometry, weight_bound: float, bias_bound: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    weight = torch.rand(geometry.weight_shape, generator=generator).mul_(2).sub_(1).mul_(weight_bound)
    bias = torch.rand(geometry.outputs, generator=generator).mul_(2).sub_(1).mul_(bias_bound)
    return weight, bias
