"""Goodness, the contrastive loss on it, and its exact local gradient in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Errors:
    """Output of a rule for one batch of one layer.

    Attributes:
        positive, negative: `[N, C, ...]`, the derivative of the layer's loss with respect to the pre-activations of the
            positive and negative pairs, averaged over batch and positions (an update is `W -= lr * errors^T x`).
        goodness_positive, goodness_negative: scalars, means over batch and positions.
        loss: scalar.
    """

    positive: Tensor
    negative: Tensor
    goodness_positive: Tensor
    goodness_negative: Tensor
    loss: Tensor


@dataclass(frozen=True)
class Gains:
    """Errors of a rule in factored form: error = gain * output, with one gain per position.

    Attributes:
        positive, negative: `[N, P]`, the gains of the positive and negative pairs.
        goodness_positive, goodness_negative, loss: as in `Errors`.
    """

    positive: Tensor
    negative: Tensor
    goodness_positive: Tensor
    goodness_negative: Tensor
    loss: Tensor


class HasGains(Protocol):
    """A rule whose errors are outputs times gains, so its layer need not store any output."""

    def gains(self, goodness_positive: Tensor, goodness_negative: Tensor, units: int) -> Gains:
        """Return the gains from the goodness `[N, P]` of each position of a layer with `units` units per position."""
        ...


def goodness(y: Tensor) -> Tensor:
    """Return the mean of squared outputs over the units (paper, section 2.1 and equation 3).

    Args:
        y: `[N, C]` or `[N, C, ...]`.
    Returns:
        `[N]` or `[N, ...]`: one goodness per position.
    """
    return y.square().mean(dim=1)


def contrast(
    goodness_positive: Tensor,
    goodness_negative: Tensor,
    units: int,
    theta_pos: float,
    theta_neg: float,
    penalty: float = 0.0,
) -> Gains:
    """Return gains that raise positive pairs' goodness above `theta_pos` and lower negative pairs' below `theta_neg`.

    The loss is equation 3 of the paper with its penalty term,
    `softplus(theta_pos - G_pos) + softplus(G_neg - theta_neg)` averaged over positions and batch, plus
    `penalty * ||G_pos||_F` per sample. With `y = relu(z)` and C units its derivatives with respect to z are

        d_pos = -(2/C) y (sigmoid(theta_pos - G_pos) / P - penalty G_pos / ||G_pos||) / N
        d_neg =  (2/C) y  sigmoid(G_neg - theta_neg) / (P N)

    for P positions and N samples; no autograd is involved.

    Args:
        goodness_positive, goodness_negative: `[N, P]`.
        units: C, units per position.
        theta_pos, theta_neg: thresholds of goodness.
        penalty: the paper's lambda.
    """
    pull = torch.sigmoid(theta_pos - goodness_positive) / goodness_positive.numel()
    push = torch.sigmoid(goodness_negative - theta_neg) / goodness_negative.numel()
    loss = F.softplus(theta_pos - goodness_positive).mean() + F.softplus(goodness_negative - theta_neg).mean()
    if penalty:
        norm = goodness_positive.norm(dim=1, keepdim=True)
        loss = loss + penalty * norm.mean()
        smallest = torch.finfo(norm.dtype).tiny
        pull = pull - penalty / len(norm) * goodness_positive / norm.clamp_min(smallest)
    scale = 2 / units
    return Gains(-scale * pull, scale * push, goodness_positive.mean(), goodness_negative.mean(), loss)


def errors_from_gains(rule: HasGains, z_positive: Tensor, z_negative: Tensor) -> Errors:
    """Return the errors of `rule` at pre-activations `[N, C]` or `[N, C, ...]`: outputs times gains."""
    y_positive, y_negative = torch.relu(z_positive), torch.relu(z_negative)
    g_positive, g_negative = goodness(y_positive), goodness(y_negative)
    gains = rule.gains(
        g_positive.view(len(g_positive), -1), g_negative.view(len(g_negative), -1), y_positive.shape[1]
    )
    return Errors(
        positive=y_positive * gains.positive.view_as(g_positive).unsqueeze(1),
        negative=y_negative * gains.negative.view_as(g_negative).unsqueeze(1),
        goodness_positive=gains.goodness_positive,
        goodness_negative=gains.goodness_negative,
        loss=gains.loss,
    )
