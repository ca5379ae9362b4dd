"""SGD and AdamW on an array's weight and bias, with gradients written down instead of collected by autograd.

PyTorch's fused kernels are called directly: the bookkeeping of a `torch.optim` class takes as long a step as the
arithmetic of a small layer.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from scff_hw.core.arrays import Optimisation
from scff_hw.errors import UsageError

BETAS, EPSILON = (0.9, 0.999), 1e-8
"""PyTorch's defaults, with which the paper's authors train."""


class Descent:
    """Changes `parameters` in place.

    Attributes:
        learning_rate: of the next step.
        state: PyTorch's names for what an optimiser remembers of a parameter, e.g. `{"weight.exp_avg": ...}`.

    Raises:
        UsageError: an optimiser other than "sgd" and "adamw".
    """

    def __init__(self, parameters: dict[str, Tensor], wanted: Optimisation) -> None:
        if wanted.optimiser not in ("adamw", "sgd"):
            raise UsageError(
                f"The optimiser of the float backend must be 'adamw' or 'sgd'. Got '{wanted.optimiser}' instead."
            )
        self.learning_rate = wanted.learning_rate
        self._parameters, self._wanted = parameters, wanted
        self.state: dict[str, Tensor] = {}
        for name, parameter in parameters.items():
            if wanted.optimiser == "adamw":
                self.state[f"{name}.step"] = torch.zeros((), device=parameter.device)
                self.state[f"{name}.exp_avg"] = torch.zeros_like(parameter)
                self.state[f"{name}.exp_avg_sq"] = torch.zeros_like(parameter)
            elif wanted.momentum:
                self.state[f"{name}.momentum_buffer"] = torch.zeros_like(parameter)

    def step(self, gradients: dict[str, Tensor]) -> None:
        """One step down; `gradients` has the keys and the shapes of the parameters, contiguous."""
        wanted, parameters = self._wanted, list(self._parameters.values())
        downhill = [gradients[name] for name in self._parameters]
        if wanted.optimiser == "adamw":
            adamw(
                parameters,
                downhill,
                self._remembered("exp_avg"),
                self._remembered("exp_avg_sq"),
                [],
                self._remembered("step"),
                fused=True,
                amsgrad=False,
                beta1=BETAS[0],
                beta2=BETAS[1],
                lr=self.learning_rate,
                weight_decay=wanted.weight_decay,
                eps=EPSILON,
                maximize=False,
            )
        else:
            # a buffer that starts at zero gives the first step PyTorch gives, as dampening is 0
            buffers: list[Tensor | None] = [None] * len(parameters)
            if wanted.momentum:
                buffers = [*self._remembered("momentum_buffer")]
            sgd(
                parameters,
                downhill,
                buffers,
                fused=True,
                weight_decay=wanted.weight_decay,
                momentum=wanted.momentum,
                lr=self.learning_rate,
                dampening=0.0,
                nesterov=False,
                maximize=False,
            )

    def _remembered(self, key: str) -> list[Tensor]:
        return [self.state[f"{name}.{key}"] for name in self._parameters]
