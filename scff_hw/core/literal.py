"""Literal SCFF: concatenated pairs, one network for both halves, autograd. Test oracle and benchmark baseline.

Each line follows Algorithms 1 and 2 of the paper's appendix C, with the layout and the operations of its authors' code.
No run learns with this module: tests compare the closed form with it, and `scff-hw bench core` measures against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from scff_hw.core.functional import TRANSMIT, Pool, standardise


@dataclass
class LiteralLayer:
    """A layer of the literal algorithm: `weight` and `bias` are leaf tensors that require gradients.

    Attributes:
        weight: `[C, F]` (dense) or `[C, channels, k, k]`.
        concatenated: the input is a pair, its halves concatenated along dimension 1.
    """

    weight: Tensor
    bias: Tensor
    theta_pos: float
    theta_neg: float
    penalty: float
    concatenated: bool
    padding: int = 0
    transmit: str = "triangle"
    pool: Pool | None = None

    def pre_activation(self, x: Tensor) -> Tensor:
        """Standardise `x`; return `W x_1 + W x_2` for a pair, or `W x` for a plain input, biases included."""
        operation = F.linear if self.weight.dim() == 2 else F.conv2d
        x = standardise(x, self.padding if x.dim() == 4 else 0)
        if not self.concatenated:
            return operation(x, self.weight, self.bias)
        first, second = x.chunk(2, dim=1)
        return operation(first, self.weight, self.bias) + operation(second, self.weight, self.bias)

    def loss(self, z_pos: Tensor, z_neg: Tensor) -> Tensor:
        """Return the loss, a scalar: equation 3 of the paper with the penalty term of its Methods."""
        g_pos = torch.relu(z_pos).pow(2).mean(dim=1)
        g_neg = torch.relu(z_neg).pow(2).mean(dim=1)
        norm = g_pos.flatten(1).norm(dim=1) if g_pos.dim() > 1 else g_pos.abs()
        attract = -F.logsigmoid(g_pos - self.theta_pos).mean()
        repel = -F.logsigmoid(self.theta_neg - g_neg).mean()
        return attract + repel + self.penalty * norm.mean()

    def transmitted(self, z: Tensor) -> Tensor:
        y = TRANSMIT[self.transmit](z)
        return y if self.pool is None else self.pool(y)


def pair(x_pos: Tensor, x_neg: Tensor, layer: LiteralLayer, shift: int) -> tuple[Tensor, Tensor]:
    """Return the inputs of `layer`: new pairs (layer 1, Algorithm 2), or the two given streams (Algorithm 1)."""
    if not layer.concatenated:
        return x_pos, x_neg
    x = standardise(x_pos)
    partner = x.roll(-shift, dims=0)
    return torch.cat([x, x], dim=1), torch.cat([x, partner], dim=1)


def literal_loss(layers: Sequence[LiteralLayer], x: Tensor, shifts: Sequence[int]) -> Tensor:
    """Return the loss of the last layer of `layers` on a batch; the other layers are frozen.

    Args:
        x: `[N, ...]`, the network's input.
        shifts: the cyclic shift of each layer's pairs.
    """
    x_pos = x_neg = x
    with torch.no_grad():
        for layer, shift in zip(layers[:-1], shifts[:-1], strict=True):
            x_pos, x_neg = pair(x_pos, x_neg, layer, shift)
            z_pos, z_neg = layer.pre_activation(x_pos), layer.pre_activation(x_neg)
            x_pos, x_neg = layer.transmitted(z_pos), layer.transmitted(z_neg)
    last = layers[-1]
    x_pos, x_neg = pair(x_pos, x_neg, last, shifts[-1])
    return last.loss(last.pre_activation(x_pos), last.pre_activation(x_neg))


def literal_step(
    layers: Sequence[LiteralLayer], x: Tensor, shifts: Sequence[int], optimiser: torch.optim.Optimizer
) -> Tensor:
    """Make one learning step of the last layer: zero_grad, loss, backward, optimiser step; return the loss."""
    optimiser.zero_grad()
    loss = literal_loss(layers, x, shifts)
    loss.backward()
    optimiser.step()
    return loss.detach()
