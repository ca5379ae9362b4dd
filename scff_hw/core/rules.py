"""Local learning rules: one layer's input and pre-activations in, errors at its pre-activations out.

A rule never sees weights, another layer, or (unless it is supervised) labels. To add one, subclass `Rule` and
either call `register` or declare an entry point in the group `scff_hw.rules`; recipes then name it under
`training.rule`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from scff_hw.core.goodness import Errors, Modulation, contrast, modulated
from scff_hw.core.streams import Stream
from scff_hw.errors import UsageError
from scff_hw.registry import Registry


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

    Large layers compute `errors` from `modulation` without storing any output; a subclass that overrides `errors` is
    asked for its own instead, whatever the size.
    """

    def errors(self, signals: Signals) -> Errors:
        return modulated(self, signals.positive, signals.negative)

    @abstractmethod
    def modulation(self, goodness_positive: Tensor, goodness_negative: Tensor, units: int) -> Modulation:
        """The gains by which outputs are multiplied: see `scff_hw.core.goodness.Modulating`."""


def overridden(rule: Rule, declared: type[Rule], *methods: str) -> list[str]:
    """Methods of a rule that are not those of the class `declared`: no shortcut made for these may be taken."""
    return [name for name in methods if getattr(getattr(rule, name), "__func__", None) is not getattr(declared, name)]


@dataclass(frozen=True)
class SCFF(GainRule):
    """Self-Contrastive Forward-Forward: a sample paired with itself against a sample paired with another."""

    name: ClassVar[str] = "scff"
    theta_pos: float
    theta_neg: float
    penalty: float = 0.0

    def modulation(self, goodness_positive: Tensor, goodness_negative: Tensor, units: int) -> Modulation:
        """See `contrast`."""
        return contrast(goodness_positive, goodness_negative, units, self.theta_pos, self.theta_neg, self.penalty)


@dataclass(frozen=True)
class ShuffledSCFF(Rule):
    """A control: SCFF with the roles of every second sample's pairs exchanged, so that nothing tells them apart.

    What it learns comes from goodness drifting towards the thresholds, not from contrast. Batches are drawn in random
    order, so which samples are exchanged is random too. A step of a sequence is a sample.
    """

    name: ClassVar[str] = "scff-shuffled"
    theta_pos: float
    theta_neg: float
    penalty: float = 0.0

    def errors(self, signals: Signals) -> Errors:
        rule = SCFF(self.theta_pos, self.theta_neg, self.penalty)
        found = modulated(rule, *_every_second_exchanged(signals.positive, signals.negative))
        positive, negative = _every_second_exchanged(found.positive, found.negative)
        return replace(found, positive=positive, negative=negative)


def _every_second_exchanged(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    exchanged = (torch.arange(len(first), device=first.device) % 2 == 1).view(-1, *(1,) * (first.dim() - 1))
    return torch.where(exchanged, second, first), torch.where(exchanged, first, second)


@dataclass(frozen=True)
class ForwardForward(SCFF):
    """Hinton's unsupervised Forward-Forward: a real image against a hybrid of two (paper, section 2.1, fig. 2a).

    The hybrid takes one image where a smooth random mask is set and another where it is not. The mask is white noise
    blurred with [1/4, 1/2, 1/4] in both directions and thresholded at one half (Hinton 2022, section 3.2).
    Layers standardise their input, where Hinton only normalises its length.
    """

    name: ClassVar[str] = "forward-forward"
    own_pairs: ClassVar[bool] = True

    @classmethod
    def pairs(cls, images: Tensor, labels: Tensor | None, classes: int, generator: torch.Generator) -> Stream:
        if images.dim() != 4:
            raise UsageError(
                "Rule 'forward-forward' needs images [N, C, H, W] to make hybrids. "
                f"Got shape {list(images.shape)} instead."
            )
        count, _, height, width = images.shape
        mask = blurred_masks(count, height, width, generator).to(images)
        shift = int(torch.randint(1, count, (1,), generator=generator))
        return Stream(images, mask * images + (1 - mask) * images.roll(-shift, 0))


@dataclass(frozen=True)
class LabelledForwardForward(SCFF):
    """Hinton's supervised Forward-Forward: the right label against a wrong one, written into the first pixels.

    The first `classes` values of a flattened sample become a one-hot label (Hinton 2022, section 3.3); at
    inference they all become 1 / classes, the neutral label.
    """

    name: ClassVar[str] = "forward-forward-supervised"
    needs_labels: ClassVar[bool] = True
    own_pairs: ClassVar[bool] = True

    @classmethod
    def pairs(cls, images: Tensor, labels: Tensor | None, classes: int, generator: torch.Generator) -> Stream:
        if labels is None:
            raise UsageError("Rule 'forward-forward-supervised' needs labels. Got an unlabelled data set instead.")
        offset = torch.randint(1, classes, labels.shape, generator=generator).to(labels)
        one_hot = torch.eye(classes, dtype=images.dtype, device=images.device)
        return Stream(embed_label(images, one_hot[labels]), embed_label(images, one_hot[(labels + offset) % classes]))

    @classmethod
    def plain(cls, images: Tensor, classes: int) -> Tensor:
        neutral = torch.full((len(images), classes), 1 / classes, dtype=images.dtype, device=images.device)
        return embed_label(images, neutral)


def blurred_masks(count: int, height: int, width: int, generator: torch.Generator, blurs: int = 6) -> Tensor:
    """Random binary masks with large regions of ones and zeros, float32 `[count, 1, height, width]`."""
    noise = torch.rand(count, 1, height, width, generator=generator)
    for dim in (2, 3) * blurs:
        noise = noise.roll(1, dim) / 4 + noise / 2 + noise.roll(-1, dim) / 4
    return (noise > 0.5).float()


def embed_label(images: Tensor, code: Tensor) -> Tensor:
    """Write `code` `[N, classes]` over the first values of each flattened sample; returns a new tensor."""
    flat = images.flatten(1).clone()
    if flat.shape[1] <= code.shape[1]:
        raise UsageError(
            f"A label of {code.shape[1]} classes needs samples of more than {code.shape[1]} values. "
            f"Got {flat.shape[1]} instead."
        )
    flat[:, : code.shape[1]] = code
    return flat.view_as(images)


def _checked(found: object) -> type[Rule]:
    if not (isinstance(found, type) and issubclass(found, Rule) and isinstance(getattr(found, "name", None), str)):
        raise UsageError(f"A rule must be a subclass of scff_hw.core.Rule with a name. Got {found!r} instead.")
    return found


RULES: Registry[type[Rule]] = Registry("rule", _checked)

for _rule in (SCFF, ShuffledSCFF, ForwardForward, LabelledForwardForward):
    RULES.register(_rule)


def register(rule: type[Rule]) -> type[Rule]:
    """Make a rule known by its name; usable as a decorator. A name can be taken once.

    Raises:
        UsageError: not a rule with a name, or another rule has it.
    """
    return RULES.register(rule)


def rule_names() -> list[str]:
    """Names of the rules known here, those of installed packages included."""
    return RULES.names()


def rule_class(name: str) -> type[Rule]:
    """The rule of that name.

    Raises:
        UsageError: no such rule, or the entry point of that name gives none.
        PluginError: the package of the rule cannot be imported.
    """
    return RULES.get(name)
