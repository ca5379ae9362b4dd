"""SGD and AdamW on an array's weight and bias, with explicit gradients instead of autograd.

PyTorch's fused kernels are called directly: the overhead of a `torch.optim` class per step equals the arithmetic of a
small layer.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from scff_hw.core.arrays import Optimisation
from scff_hw.errors import UsageError

BETAS, EPSILON = (0.9, 0.999), 1e-8
"""PyTorch's defaults, also used by the paper's authors."""


class Descent:
    """SGD or AdamW; updates `parameters` in place.

    Attributes:
        learning_rate: rate of the next step.
        state: optimiser state by parameter and PyTorch's name, e.g. `{"weight.exp_avg": ...}`.

    Raises:
        UsageError: an optimiser other than "sgd" and "adamw".
    """

    def __init__(self, parameters: dict[str, Tensor], optimisation: Optimisation) -> None:
        if optimisation.optimiser not in ("adamw", "sgd"):
            raise UsageError(
                f"The optimiser of the float backend must be 'adamw' or 'sgd'. Got '{optimisation.optimiser}' instead."
            )
        self.learning_rate = optimisation.learning_rate
        self._parameters, self._optimisation = parameters, optimisation
        self.state: dict[str, Tensor] = {}
        for name, parameter in parameters.items():
            if optimisation.optimiser == "adamw":
                self.state[f"{name}.step"] = torch.zeros((), device=parameter.device)
                self.state[f"{name}.exp_avg"] = torch.zeros_like(parameter)
                self.state[f"{name}.exp_avg_sq"] = torch.zeros_like(parameter)
            elif optimisation.momentum:
                self.state[f"{name}.momentum_buffer"] = torch.zeros_like(parameter)

    def step(self, gradients: dict[str, Tensor]) -> None:
        """Make one descent step; `gradients` has the keys and shapes of the parameters and is contiguous."""
        optimisation, parameters = self._optimisation, list(self._parameters.values())
        in_order = [gradients[name] for name in self._parameters]
        if optimisation.optimiser == "adamw":
            adamw(
                parameters,
                in_order,
                self._moments("exp_avg"),
                self._moments("exp_avg_sq"),
                [],
                self._moments("step"),
                fused=True,
                amsgrad=False,
                beta1=BETAS[0],
                beta2=BETAS[1],
                lr=self.learning_rate,
                weight_decay=optimisation.weight_decay,
                eps=EPSILON,
                maximize=False,
            )
        else:
            # a zero initial buffer gives PyTorch's first step, as dampening is 0
            buffers: list[Tensor | None] = [None] * len(parameters)
            if optimisation.momentum:
                buffers = [*self._moments("momentum_buffer")]
            sgd(
                parameters,
                in_order,
                buffers,
                fused=True,
                weight_decay=optimisation.weight_decay,
                momentum=optimisation.momentum,
                lr=self.learning_rate,
                dampening=0.0,
                nesterov=False,
                maximize=False,
            )

    def _moments(self, key: str) -> list[Tensor]:
        return [self.state[f"{name}.{key}"] for name in self._parameters]
