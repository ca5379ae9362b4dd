"""Arrays for autograd: the same forward pass as on the float backend, recorded, for backpropagation and fine-tuning."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from scff_hw.core.arrays import Optimisation
from scff_hw.core.backend import Backend
from scff_hw.core.geometry import Geometry


class AutogradArray:
    """An array whose MVM is recorded by autograd; it does not implement `update`."""

    learning_rate = 0.0

    def __init__(self, weight: Tensor, bias: Tensor, geometry: Geometry) -> None:
        self.weight, self.bias, self.geometry = weight, bias, geometry

    def mvm(self, x: Tensor) -> Tensor:
        return self.geometry.mvm(x, self.weight)

    def update(self, x: Tensor, error: Tensor, bias_error: Tensor) -> None:
        raise NotImplementedError("weights on the autograd backend change through autograd")

    def weight_range(self) -> tuple[float, float]:
        return float(self.weight.min()), float(self.weight.max())

    def state(self) -> dict[str, Tensor]:
        return {"weight": self.weight.detach().clone(), "bias": self.bias.detach().clone()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        with torch.no_grad():
            self.weight.copy_(state["weight"])
            self.bias.copy_(state["bias"])


class AutogradBackend(Backend):
    """Backend whose arrays share memory with the given weights."""

    name: ClassVar[str] = "autograd"

    def array(
        self, weight: Tensor, bias: Tensor, geometry: Geometry, optimisation: Optimisation, name: str = ""
    ) -> AutogradArray:
        return AutogradArray(weight, bias, geometry)
