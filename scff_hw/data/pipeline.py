"""Batches of a data set that is stored in memory as bytes."""

from __future__ import annotations

import torch

from scff_hw.data.augment import Augmentation
from scff_hw.data.scaling import fit_scaling
from scff_hw.data.types import Dataset
from scff_hw.documents import Scaling
from scff_hw.errors import UsageError

_IDENTITY = Augmentation()


class Pipeline:
    """Batches of scaled samples of one part of a data set, which is stored as one tensor on one device.

    `part` is "train", "test" or "unlabelled". Values become `(value - mean) / std`, with mean and std of `scaling`, by
    default `fit_scaling(dataset)`: pixels divided by 255, plain features standardised over the training part.

    `labels` is int64 [N] on the device, or None for unlabelled data.
    """

    def __init__(
        self,
        dataset: Dataset,
        part: str = "train",
        scaling: Scaling | None = None,
        *,
        device: torch.device | str = "cpu",
    ) -> None:
        split = dataset.part(part)
        self.device = torch.device(device)
        self.samples = split.images.to(self.device)
        self.labels = None if split.labels is None else split.labels.to(self.device)
        # value * scale + offset; the coefficients are computed once in float64
        scaling = scaling or fit_scaling(dataset)
        mean, std = (torch.tensor(values, dtype=torch.float64) for values in (scaling.mean, scaling.std))
        shape = (-1, *(1 for _ in dataset.input_shape[1:]))
        self._scale = (1 / std).view(shape).to(self.device, torch.float32)
        self._offset = (-mean / std).view(shape).to(self.device, torch.float32)

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
        UsageError if an augmentation is given without generator, or for data that are not images.
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
