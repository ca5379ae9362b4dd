"""The learning rule of the SCFF paper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from scff_hw.core.goodness import Gains, contrast
from scff_hw.core.rules.base import GainRule


@dataclass(frozen=True)
class SCFF(GainRule):
    """Self-Contrastive Forward-Forward: positive pairs (a sample and itself) against negative pairs (two samples)."""

    name: ClassVar[str] = "scff"
    theta_pos: float
    theta_neg: float
    penalty: float = 0.0

    def gains(self, goodness_positive: Tensor, goodness_negative: Tensor, units: int) -> Gains:
        """Return the gains of `contrast` for this rule's thresholds and penalty."""
        return contrast(goodness_positive, goodness_negative, units, self.theta_pos, self.theta_neg, self.penalty)
