"""Return types of the readers: samples, labels and class names."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from scff_hw.errors import UsageError


@dataclass(frozen=True, eq=False)
class Split:
    """Samples of one part of a data set.

    `images` is uint8 [N, C, H, W], or float32 [N, F] for a data set of plain features (Iris, in centimetres).
    `labels` is int64 [N] with values from 0, or None for unlabelled data.
    """

    images: torch.Tensor
    labels: torch.Tensor | None

    def __len__(self) -> int:
        return self.images.shape[0]


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set with its training and test parts; `classes[k]` is the name of label k.

    `digest` identifies the samples and labels as read, 64 hexadecimal digits; empty for a data set that was not read by
    `load`. `shrink` and `hold_out` do not change it. `notes` are warnings about own data, one sentence each.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    unlabelled: Split | None = None
    digest: str = ""
    notes: tuple[str, ...] = ()

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample: (C, H, W), or (F,) for plain features."""
        return tuple(self.train.images.shape[1:])

    @property
    def channels(self) -> int:
        """Number of channels, or of plain features."""
        return self.input_shape[0]

    @property
    def scaled_per_feature(self) -> bool:
        """Whether features are scaled over the training part by default: plain features are."""
        return self.train.images.dtype != torch.uint8

    @property
    def unit(self) -> float:
        """Divisor without `per_feature` scaling: 255 for pixels, 1 for plain features."""
        return 1.0 if self.scaled_per_feature else 255.0

    def training_values(self) -> torch.Tensor:
        """Return the samples of the training part as `[N, F]`, or `[N, C, H * W]` for images."""
        return self.train.images.flatten(2) if len(self.input_shape) > 1 else self.train.images

    def part(self, name: str) -> Split:
        """Return the part called "train", "test" or "unlabelled".

        Raises UsageError for another name, or for "unlabelled" if the data set has no such part.
        """
        parts = {"train": self.train, "test": self.test, "unlabelled": self.unlabelled}
        split = parts.get(name)
        if split is None:
            allowed = ", ".join(key for key, value in parts.items() if value is not None)
            raise UsageError(f"The data set {self.name} has no part '{name}'; it has: {allowed}.")
        return split

    def count(self, name: str) -> int:
        """Return the number of samples of part `name`; see `part`."""
        return len(self.part(name))


@dataclass(frozen=True, eq=False)
class Recordings:
    """Spoken digits, in the order of digit, speaker and index.

    `waveforms[k]` is int16 [T_k], `labels` int64 [N] (the digit), `speakers[k]` a name, `indices` int64 [N]
    (the number of the take), `is_test` bool [N] (the publisher's split), `sample_rate` in hertz.
    """

    waveforms: tuple[torch.Tensor, ...]
    labels: torch.Tensor
    speakers: tuple[str, ...]
    indices: torch.Tensor
    is_test: torch.Tensor
    sample_rate: int

    def __len__(self) -> int:
        return len(self.waveforms)

    @property
    def train(self) -> Recordings:
        """Recordings of the training part."""
        return self._where(~self.is_test)

    @property
    def test(self) -> Recordings:
        """Recordings of the test part."""
        return self._where(self.is_test)

    def _where(self, chosen: torch.Tensor) -> Recordings:
        indices = chosen.nonzero()[:, 0].tolist()
        return replace(
            self,
            waveforms=tuple(self.waveforms[k] for k in indices),
            labels=self.labels[chosen],
            speakers=tuple(self.speakers[k] for k in indices),
            indices=self.indices[chosen],
            is_test=self.is_test[chosen],
        )
