"""Scaling of values from a data set to inputs of a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from scff_hw.documents import Scaling
from scff_hw.errors import UsageError

CONSTANT = 1.0
"""Divisor of a feature that is constant over the training part."""


class Scalable(Protocol):
    """A data set whose values can be scaled."""

    @property
    def name(self) -> str: ...

    @property
    def channels(self) -> int:
        """Number of features, image channels, or coefficients per frame."""
        ...

    @property
    def unit(self) -> float:
        """Divisor of values that are not scaled per feature: 255 for pixels, 1 for features and coefficients."""
        ...

    @property
    def scaled_per_feature(self) -> bool:
        """Whether `per_feature` is the default: true for plain features, whose units are arbitrary."""
        ...

    def training_values(self) -> torch.Tensor:
        """Return all values of the training part, `[N, channels]` or `[N, channels, P]` with P pixels."""
        ...


def fit_scaling(
    dataset: Scalable,
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    *,
    per_feature: bool | None = None,
) -> Scaling:
    """Compute the scaling of a data set: two steps combined into one mean and std, in the units of the data.

    First, values are divided by the data set's unit; or, with `per_feature`, each feature, channel or coefficient is
    standardised by its mean and standard deviation over the training part. Then `mean` is subtracted, and the result
    divided by `std`; each is one value, or one per channel.

    Args:
        per_feature: None for the data set's default: true for plain features only.

    Raises:
        UsageError: a wrong number of values, or a std that is not positive.
    """
    second_mean, second_std = (_per_channel(dataset, name, values) for name, values in (("mean", mean), ("std", std)))
    if not (second_std > 0).all():
        raise UsageError(f"The std of {dataset.name} must be positive; got {list(std)}.")
    first_mean, first_std = np.zeros(dataset.channels), np.full(dataset.channels, dataset.unit)
    if dataset.scaled_per_feature if per_feature is None else per_feature:
        first_mean, first_std = _moments(dataset.training_values())
    combined = first_mean + first_std * second_mean, first_std * second_std
    means, stds = (tuple(values.tolist()) for values in combined)
    return Scaling(mean=means, std=stds)


def _moments(values: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Compute mean and standard deviation per channel, float64 `[channels]`."""
    values = values.view(*values.shape[:2], -1)
    count = values.shape[0] * values.shape[2]
    mean = values.sum(dim=(0, 2), dtype=torch.float64) / count
    squares = torch.zeros_like(mean)
    for block in values.split(1024):  # a float64 copy of all pixels might not fit into memory
        squares += (block.double() - mean[:, None]).square().sum(dim=(0, 2))
    spread = (squares / max(1, count - 1)).sqrt()
    least = values.amin(dim=(0, 2))
    constant = least == values.amax(dim=(0, 2))
    mean = torch.where(constant, least.double(), mean)
    return mean.numpy(), torch.where(constant, CONSTANT, spread).numpy()


def _per_channel(dataset: Scalable, name: str, values: Sequence[float]) -> np.ndarray:
    if len(values) not in (1, dataset.channels):
        allowed = "1 value" if dataset.channels == 1 else f"1 or {dataset.channels} values"
        raise UsageError(f"The {name} of {dataset.name} must have {allowed}; got {len(values)}.")
    return np.broadcast_to(np.array(values, dtype=np.float64), dataset.channels)
