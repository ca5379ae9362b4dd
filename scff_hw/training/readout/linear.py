"""The readout: a linear classifier on frozen features, whose accuracy measures the quality of the features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from scff_hw.training.features import FeatureSource

ReadoutTransform = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Maps a readout's weights and biases to those that inference uses, e.g. quantised to 8 bits."""


@dataclass
class Readout:
    """A linear classifier.

    Attributes:
        weight: float `[classes, F]`.
        bias: float `[classes]`.
        transform: maps weights and biases to those that `logits` computes with, in float64; None for the identity.
    """

    weight: Tensor
    bias: Tensor
    transform: ReadoutTransform | None = None

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits `[B, classes]` for features `x` `[B, F]`; float64 with `transform`."""
        if self.transform is None:
            return torch.addmm(self.bias, x, self.weight.T)
        weight, bias = self.transform(self.weight, self.bias)
        return torch.addmm(bias.double(), x.double(), weight.double().T)

    def accuracy(self, source: FeatureSource, labels: Tensor) -> float:
        """Return the accuracy, 0..1, without augmentation or dropout; `labels` is int64 `[N]`."""
        correct = 0
        for indices in torch.arange(len(labels), device=labels.device).split(1000):
            correct += int((self.logits(source.batch(indices, None)).argmax(dim=1) == labels[indices]).sum())
        return correct / len(labels)
