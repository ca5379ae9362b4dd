"""The interface of a rule: one layer's input and pre-activations in, errors at its pre-activations out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from scff_hw.core.goodness import Errors, Gains, errors_from_gains
from scff_hw.core.pairs import Stream


@dataclass(frozen=True)
class Signals:
    """Input of a rule: signals of one layer for one batch.

    Attributes:
        inputs: `[R, ...]`, the array's inputs (R is N, or 2N for two streams).
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
    """True if the rule makes positive and negative samples at the network's input; each layer then takes both
    streams of the previous layer."""

    @abstractmethod
    def errors(self, signals: Signals) -> Errors:
        """Return the errors at the pre-activations of both kinds of pairs; a pure function."""

    @classmethod
    def pairs(cls, images: Tensor, labels: Tensor | None, classes: int, generator: torch.Generator) -> Stream:
        """Make positive and negative samples from a batch `[N, C, H, W]` or `[N, F]`; required if `own_pairs`."""
        raise NotImplementedError(f"{cls.__name__} has own_pairs but no pairs()")

    @classmethod
    def plain(cls, images: Tensor, classes: int) -> Tensor:
        """Return the network's input at inference for a batch `images`, e.g. with a neutral label."""
        return images


class GainRule(Rule):
    """A rule of the form error = gain * output; the gains depend on goodness alone.

    Large layers compute errors from `gains` without storing any output. A subclass that overrides `errors` loses this:
    layers of any size then call its `errors`.
    """

    def errors(self, signals: Signals) -> Errors:
        return errors_from_gains(self, signals.positive, signals.negative)

    @abstractmethod
    def gains(self, goodness_positive: Tensor, goodness_negative: Tensor, units: int) -> Gains:
        """Return the gains of the outputs: see `scff_hw.core.goodness.HasGains`."""


def overridden(rule: Rule, declared: type[Rule], *methods: str) -> list[str]:
    """Return which `methods` of class `declared` `rule` overrides; optimisations for these do not apply then."""
    return [name for name in methods if getattr(getattr(rule, name), "__func__", None) is not getattr(declared, name)]
