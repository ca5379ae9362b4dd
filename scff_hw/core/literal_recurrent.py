"""Literal recurrent SCFF: concatenated pairs, padded batches with masks, autograd. Test oracle and baseline.

No run learns with this module: tests compare the packed closed form of `recurrent` with it, and benchmarks measure
against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from scff_hw.core.functional import standardise


@dataclass
class LiteralDirection:
    """One direction, as leaf tensors that require gradients: `w_inputs` `[H, F]`, `w_hidden` `[H, H]`, biases `[H]`."""

    w_inputs: Tensor
    b_inputs: Tensor
    w_hidden: Tensor
    b_hidden: Tensor
    backwards: bool = False

    @property
    def parameters(self) -> list[Tensor]:
        return [self.w_inputs, self.b_inputs, self.w_hidden, self.b_hidden]

    def outputs(self, pairs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return outputs `[N, T, H]`, undefined past a sequence's end, and last states `[N, H]`.

        `pairs` is `[N, T, 2F]`, `lengths` `[N]`.
        """
        steps = pairs.shape[1]
        state = pairs.new_zeros(len(pairs), len(self.b_hidden))
        outputs = [state] * steps
        for t in reversed(range(steps)) if self.backwards else range(steps):
            first, second = pairs[:, t].chunk(2, dim=1)
            drive = F.linear(first, self.w_inputs) + F.linear(second, self.w_inputs, self.b_inputs)
            outputs[t] = torch.relu(drive + F.linear(state, self.w_hidden, self.b_hidden))
            active = (t < lengths)[:, None]
            state = torch.where(active, standardise(outputs[t].detach()), state)
        return torch.stack(outputs, dim=1), state


def literal_recurrent_loss(
    directions: Sequence[LiteralDirection],
    x: Tensor,
    lengths: Tensor,
    shift: int,
    theta_pos: float,
    theta_neg: float,
    penalty: float = 0.0,
) -> Tensor:
    """Return the loss of a batch: summed over the steps of a sequence, averaged over sequences.

    Args:
        x: `[N, T, F]`, zero past the end of each sequence.
        lengths: `[N]`, steps of each sequence.
        shift: cyclic shift of the negative pairs.
    """
    x = standardise(x.flatten(0, 1)).view_as(x)
    active = torch.arange(x.shape[1]) < lengths[:, None]
    positive, negative = (
        torch.cat([direction.outputs(torch.cat([x, other], dim=2), lengths)[0] for direction in directions], dim=2)
        for other in (x, x.roll(-shift, dims=0))
    )
    g_pos, g_neg = positive.pow(2).mean(dim=2)[active], negative.pow(2).mean(dim=2)[active]
    attract, repel = -F.logsigmoid(g_pos - theta_pos), -F.logsigmoid(theta_neg - g_neg)
    return (attract + repel + penalty * g_pos).sum() / len(x)
