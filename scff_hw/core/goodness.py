"""Goodness, the contrastive loss on it, and its exact local gradient in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Errors:
    """What a rule returns for one batch of one layer.

    Attributes:
        positive, negative: `[N, C, ...]`, the derivative of the layer's loss by the pre-activations of the positive
            and the negative pairs, averaged over batch and positions (so an update is `W -= lr * errors^T x`).
        goodness_positive, goodness_negative: scalars, means over batch and positions.
        loss: scalar.
        activity: `[C]`, the sum of each unit's output over the positive pairs; zero for a dead unit.
    """

    positive: Tensor
    negative: Tensor
    goodness_positive: Tensor
    goodness_negative: Tensor
    loss: Tensor
    activity: Tensor


def goodness(y: Tensor) -> Tensor:
    """Mean of squared outputs over the units (paper, section 2.1 and equation 3).

    Args:
        y: `[N, C]` or `[N, C, ...]`.
    Returns:
        `[N]` or `[N, ...]`: one goodness a position.
    """
    return y.square().mean(dim=1)


def contrast(
    z_positive: Tensor, z_negative: Tensor, theta_pos: float, theta_neg: float, penalty: float = 0.0
) -> Errors:
    """Raise the goodness of positive pairs above `theta_pos`, lower that of negative ones below `theta_neg`.

    The loss is equation 3 of the paper with its penalty term,
    `softplus(theta_pos - G_pos) + softplus(G_neg - theta_neg)` averaged over positions and batch, plus
    `penalty * ||G_pos||_F` a sample. With `y = relu(z)` and C units its derivatives are

        d_pos = -(2/C) y (sigmoid(theta_pos - G_pos) / P - penalty G_pos / ||G_pos||) / N
        d_neg =  (2/C) y  sigmoid(G_neg - theta_neg) / (P N)

    for P positions and N samples; no autograd is involved.

    Args:
        z_positive, z_negative: `[N, C]` or `[N, C, ...]`, pre-activations.
        theta_pos, theta_neg: thresholds, in units of goodness.
        penalty: the paper's lambda.
    """
    y_positive, y_negative = torch.relu(z_positive), torch.relu(z_negative)
    g_positive, g_negative = goodness(y_positive), goodness(y_negative)
    pull = torch.sigmoid(theta_pos - g_positive) / g_positive.numel()
    push = torch.sigmoid(g_negative - theta_neg) / g_negative.numel()
    loss = F.softplus(theta_pos - g_positive).mean() + F.softplus(g_negative - theta_neg).mean()
    if penalty:
        norm = g_positive.flatten(1).norm(dim=1) if g_positive.dim() > 1 else g_positive
        loss = loss + penalty * norm.mean()
        norm = norm.clamp_min(torch.finfo(norm.dtype).tiny).view(-1, *(1,) * (g_positive.dim() - 1))
        pull = pull - penalty / len(norm) * g_positive / norm
    scale = 2 / z_positive.shape[1]
    return Errors(
        positive=y_positive * (-scale * pull).unsqueeze(1),
        negative=y_negative * (scale * push).unsqueeze(1),
        goodness_positive=g_positive.mean(),
        goodness_negative=g_negative.mean(),
        loss=loss,
        activity=y_positive.sum(dim=[0, *range(2, y_positive.dim())]),
    )
