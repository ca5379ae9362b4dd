"""Means and covariances of features and labels, in one pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from scff_hw.training.readout.columns import Columns


@dataclass(frozen=True)
class Moments:
    """Means and covariances of the scaled columns and the one-hot labels, float64.

    Attributes:
        gram: covariance of the columns `[F, F]`.
        cross: covariance of columns and labels `[F, classes]`.
        mean: mean of each column `[F]`.
        shares: share of samples per class `[classes]`.
    """

    gram: Tensor
    cross: Tensor
    mean: Tensor
    shares: Tensor

    @classmethod
    def of(cls, columns: Columns, classes: int, fitted: Tensor, stopped: Callable[[], bool]) -> Moments:
        """Compute the moments over the samples with `fitted` = 1 (others: 0); `fitted` is float64 `[N]`.

        Products of a block are computed in float32 and summed over blocks in float64.

        Raises:
            KeyboardInterrupt: `stopped` returned true.
        """
        like, width = columns.mean, len(columns)
        gram, cross = like.new_zeros(width, width), like.new_zeros(width, classes)
        sums, counts, samples = like.new_zeros(width), like.new_zeros(classes), 0.0
        for block in columns.blocks():
            if stopped():
                raise KeyboardInterrupt
            counted = fitted[block.rows].float()[:, None]
            x = (block.x - columns.mean.float()) * columns.inverse.float() * counted
            y = F.one_hot(block.y, classes).float() * counted
            gram += x.T @ x
            cross += x.T @ y
            sums += x.sum(dim=0)
            counts += y.sum(dim=0)
            samples += float(counted.sum())
        mean, shares = sums / samples, counts / samples
        return cls(gram / samples - mean.outer(mean), cross / samples - mean.outer(shares), mean, shares)
