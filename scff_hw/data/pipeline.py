"""Batches of a data set that is stored in memory as bytes."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from scff_hw.data.augment import Augmentation
from scff_hw.data.types import Dataset
from scff_hw.errors import UsageError

_IDENTITY = Augmentation()


class Pipeline:
    """One part of a data set as one tensor on one device; makes batches on request.

    `part` is "train", "test" or "unlabelled". `mean` and `std` have one value, or one per channel (per
    feature without images), in the units of the data after scaling: pixels in [0, 1], and features
    standardised by the mean and standard deviation of the training part. Raises UsageError for a wrong number
    of values, or a std that is not positive.

    `labels` is int64 [N] on the device, or None for unlabelled data.
    """

    def __init__(
        self,
        dataset: Dataset,
        part: str = "train",
        *,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        device: torch.device | str = "cpu",
    ) -> None:
        split = dataset.part(part)
        self.device = torch.device(device)
        self.samples = split.images.to(self.device)
        self.labels = None if split.labels is None else split.labels.to(self.device)
        # Normalisation is affine, value * scale + offset; the coefficients are computed once in float64.
        mean_t = _per_channel(dataset, "mean", mean)
        std_t = _per_channel(dataset, "std", std)
        if not bool((std_t > 0).all()):
            raise UsageError(f"The std of {dataset.name} must be positive; got {list(std)}.")
        if self.samples.dtype == torch.uint8:
            scale, offset = 1 / (255 * std_t), -mean_t / std_t
        else:
            train = dataset.train.images.double()
            spread = train.std(0)
            spread[spread == 0] = 1.0
            scale, offset = 1 / (spread * std_t), -(train.mean(0) / spread + mean_t) / std_t
        shape = (-1, *(1 for _ in dataset.input_shape[1:]))
        self._scale = scale.view(shape).to(self.device, torch.float32)
        self._offset = offset.view(shape).to(self.device, torch.float32)

    def __len__(self) -> int:
        return self.samples.shape[0]

    def batch(
        self,
        indices: torch.Tensor,
        augmentation: Augmentation = _IDENTITY,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """Return the samples `indices` (int64 [B]), augmented and normalised: float32 [B, C, H, W] or [B, F].

        Augmentation is applied to the stored values, so zero fill is black. The result is a new tensor. Raises
        UsageError if the augmentation is random and there is no generator, or the data are not images.
        """
        chosen = self.samples.index_select(0, indices.to(self.device))
        if not augmentation.is_identity:
            if generator is None:
                raise UsageError("A batch with random augmentation needs a torch.Generator; got None.")
            chosen = augmentation(chosen, generator)
        return chosen.to(torch.float32).mul_(self._scale).add_(self._offset)

    def order(self, generator: torch.Generator) -> torch.Tensor:
        """Return a random permutation of the sample numbers, int64 [N] on the pipeline's device."""
        drawn = torch.randperm(len(self), generator=generator, device=generator.device)
        return drawn.to(self.device)


def _per_channel(dataset: Dataset, name: str, values: Sequence[float]) -> torch.Tensor:
    channels = dataset.input_shape[0]
    if len(values) not in (1, channels):
        raise UsageError(f"The {name} of {dataset.name} must have 1 or {channels} values; got {len(values)}.")
    return torch.tensor(values, dtype=torch.float64).expand(channels)
