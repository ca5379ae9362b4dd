"""What a rule is: one layer's input and pre-activations in, errors at its pre-activations out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from scff_hw.core.goodness import Errors, Gains, errors_from_gains
from scff_hw.core.streams import Stream


@dataclass(frozen=True)
class Signals:
    """All that a rule sees of a layer.

    Attributes:
        inputs: `[R, ...]`, what the array read (R is N, or 2N where two streams were read).
        positive, negative: `[N, C, ...]`, pre-activations of the positive and the negative pairs, bias included.
    """

    inputs: Tensor
    positive: Tensor
    negative: Tensor


class Rule(ABC):
    """A local learning rule. Instances are immutable: their fields are one layer's hyper-parameters."""

    name: ClassVar[str]
    needs_labels: ClassVar[bool] = False
    own_pairs: ClassVar[bool] = False
    """True where the rule makes positive and negative samples at the network's input; every layer then takes
    the previous layer's two streams."""

    @abstractmethod
    def errors(self, signals: Signals) -> Errors:
        """Errors at the pre-activations; a pure function."""

    @classmethod
    def pairs(cls, images: Tensor, labels: Tensor | None, classes: int, generator: torch.Generator) -> Stream:
        """Positive and negative samples from a batch `[N, C, H, W]` or `[N, F]`, for a rule with `own_pairs`."""
        raise NotImplementedError(f"{cls.__name__} has own_pairs but no pairs()")

    @classmethod
    def plain(cls, images: Tensor, classes: int) -> Tensor:
        """A batch as the network reads it where there is nothing to learn (inference)."""
        return images


class GainRule(Rule):
    """A rule whose errors are outputs times gains, which it computes from goodness alone.

    Large layers compute `errors` from `gains` without storing any output; a subclass that overrides `errors` is
    asked for its own instead, whatever the size.
    """

    def errors(self, signals: Signals) -> Errors:
        return errors_from_gains(self, signals.positive, signals.negative)

    @abstractmethod
    def gains(self, goodness_positive: Tensor, goodness_negative: Tensor, units: int) -> Gains:
        """The gains by which outputs are multiplied: see `scff_hw.core.goodness.HasGains`."""


def overridden(rule: Rule, declared: type[Rule], *methods: str) -> list[str]:
    """Methods of a rule that are not those of the class `declared`: no shortcut made for these may be taken."""
    return [name for name in methods if getattr(getattr(rule, name), "__func__", None) is not getattr(declared, name)]
