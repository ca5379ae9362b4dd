"""Features of the training part in blocks, with mean and scale of every column (feature)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from scff_hw.training.features import FeatureSource

SMALLEST_SPREAD = 1e-3
"""Smallest standard deviation that a column is divided by, as a share of the root mean square of all columns' standard
deviations. It limits the weights of nearly constant columns, and so the range of a quantised readout."""

CONSTANT = 1e-6
"""Share of the same root mean square below which a column counts as constant; its weights are 0."""


@dataclass(frozen=True)
class Block:
    """Consecutive samples of one version of the training part.

    Attributes:
        version: 0 for the plain samples, others are augmented.
        start: index of the first sample.
        x: features, float32 `[B, F]`.
        y: labels, int64 `[B]`.
    """

    version: int
    start: int
    x: Tensor
    y: Tensor

    @property
    def rows(self) -> slice:
        return slice(self.start, self.start + len(self.y))


@dataclass(frozen=True)
class Columns:
    """Features of the training part with the mean and the scale of each column.

    Solvers use scaled columns, `(x - mean) * inverse`, with mean 0 and variance 1; `folded` maps weights for scaled
    columns to weights for unscaled features.

    Attributes:
        mean: float64 `[F]`, over all samples and versions.
        inverse: 1 / standard deviation, float64 `[F]`; 0 for a constant column.
    """

    source: FeatureSource
    labels: Tensor
    mean: Tensor
    inverse: Tensor

    @classmethod
    def of(cls, source: FeatureSource, labels: Tensor) -> Columns:
        """Compute mean and scale of each column in one pass; `labels` is int64 `[N]`."""
        rows, sums, squares, shift = 0, torch.zeros(()), torch.zeros(()), torch.zeros(())
        for block in _blocks(source, labels):
            x = block.x.double()
            if not rows:
                shift = x.mean(dim=0)  # sums of deviations from it cancel less
                sums, squares = torch.zeros_like(shift), torch.zeros_like(shift)
            x = x - shift
            rows += len(x)
            sums += x.sum(dim=0)
            squares += x.square().sum(dim=0)
        offset = sums / rows
        spread = (squares / rows - offset.square()).clamp(min=0).sqrt()
        typical = spread.square().mean().sqrt()
        inverse = torch.where(spread > CONSTANT * typical, 1 / spread.clamp(min=SMALLEST_SPREAD * typical), 0)
        return cls(source, labels, shift + offset, inverse)

    def __len__(self) -> int:
        return len(self.mean)

    def blocks(self) -> Iterator[Block]:
        """Iterate over all samples of all versions, version by version."""
        return _blocks(self.source, self.labels)

    def folded(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return weights and biases for unscaled features, float32, from those for scaled columns, float64."""
        unscaled = weight * self.inverse
        return unscaled.float(), (bias - unscaled @ self.mean).float()


def _blocks(source: FeatureSource, labels: Tensor) -> Iterator[Block]:
    for version in range(source.version_count):
        for start in range(0, len(labels), source.block_size):
            y = labels[start : start + source.block_size]
            yield Block(version, start, source.block(version, start, start + len(y)), y)
