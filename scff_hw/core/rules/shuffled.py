"""A control rule: SCFF with shuffled pairs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from scff_hw.core.goodness import Errors, errors_from_gains
from scff_hw.core.rules.base import Rule, Signals
from scff_hw.core.rules.scff import SCFF


@dataclass(frozen=True)
class ShuffledSCFF(Rule):
    """A control: SCFF with positive and negative pairs exchanged at every second sample, so nothing distinguishes them.

    Its learning comes from goodness drifting towards the thresholds, not from contrast. Batches are drawn in random
    order, so the choice of exchanged samples is random too. Each step of a sequence counts as a sample.
    """

    name: ClassVar[str] = "scff-shuffled"
    theta_pos: float
    theta_neg: float
    penalty: float = 0.0

    def errors(self, signals: Signals) -> Errors:
        rule = SCFF(self.theta_pos, self.theta_neg, self.penalty)
        errors = errors_from_gains(rule, *_every_second_exchanged(signals.positive, signals.negative))
        positive, negative = _every_second_exchanged(errors.positive, errors.negative)
        return replace(errors, positive=positive, negative=negative)


def _every_second_exchanged(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    exchanged = (torch.arange(len(first), device=first.device) % 2 == 1).view(-1, *(1,) * (first.dim() - 1))
    return torch.where(exchanged, second, first), torch.where(exchanged, first, second)
