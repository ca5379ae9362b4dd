"""Spoken digits as a data set, and batches of their sequences."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from scff_hw.data import fsdd as _fsdd
from scff_hw.data.audio import Mfcc
from scff_hw.data.audio_augment import AudioAugmentation
from scff_hw.data.content_digest import recordings_digest
from scff_hw.data.files import data_root
from scff_hw.data.scaling import fit_scaling
from scff_hw.data.sequences import Sequences, load_sequences
from scff_hw.data.types import Recordings
from scff_hw.documents import Scaling
from scff_hw.errors import UsageError


@dataclass(frozen=True, eq=False)
class SpokenDigits:
    """Spoken digits: MFCC sequences and their recordings; `classes[k]` is the name of label k.

    `digest` identifies the recordings, 64 hexadecimal digits.
    """

    sequences: Sequences
    recordings: Recordings
    mfcc: Mfcc
    name: str = _fsdd.NAME
    classes: tuple[str, ...] = tuple("0123456789")
    digest: str = ""

    unit = 1.0
    scaled_per_feature = False

    @property
    def channels(self) -> int:
        """Number of coefficients per frame."""
        return self.mfcc.features

    def training_values(self) -> torch.Tensor:
        """Return all frames of the training part, without padding, float32 `[frames, F]`."""
        train = self.sequences.train
        return train.features[torch.arange(train.features.shape[1]) < train.lengths[:, None]]

    def part(self, name: str) -> Sequences:
        """Return the part called "train" or "test". Raises UsageError for another name."""
        if name not in ("train", "test"):
            raise UsageError(f"The data set {self.name} has no part '{name}'; it has: train, test.")
        return self.sequences.train if name == "train" else self.sequences.test

    def count(self, name: str) -> int:
        """Return the number of sequences of part `name`; see `part`."""
        if name not in ("train", "test"):
            return len(self.part(name))
        test = int(self.sequences.is_test.sum())
        return test if name == "test" else len(self.sequences) - test

    def leave_out(self, speaker: str) -> SpokenDigits:
        """Return a copy with the recordings of `speaker` as test part; see `Sequences.leave_out`."""
        return replace(self, sequences=self.sequences.leave_out(speaker))

    def hold_out(self, count: int, seed: int) -> SpokenDigits:
        """Return the training part, with `count` sequences of it as test part; see `Sequences.hold_out`."""
        return replace(self, sequences=self.sequences.hold_out(count, seed))


def load_spoken(data_dir: str | Path | None = None, mfcc: Mfcc | None = None) -> SpokenDigits:
    """Read the Free Spoken Digit Dataset; see `load_sequences`."""
    parameters = mfcc or Mfcc()
    recordings = _fsdd.load(data_root(data_dir))
    return SpokenDigits(
        load_sequences(data_dir, parameters), recordings, parameters, digest=recordings_digest(recordings)
    )


class SequencePipeline:
    """Batches of scaled sequences of one part ("train", "test") of a data set.

    Frames become `(frame - mean) / std`, with mean and std of `scaling`, by default `fit_scaling(dataset)`; padding
    stays zero.

    `labels` is int64 `[N]` on the device.
    """

    def __init__(
        self,
        dataset: SpokenDigits,
        part: str = "train",
        scaling: Scaling | None = None,
        *,
        device: torch.device | str = "cpu",
    ) -> None:
        self._dataset, part_sequences = dataset, dataset.part(part)
        scaling = scaling or fit_scaling(dataset)
        self.device = torch.device(device)
        self._mean, self._std = (
            torch.tensor(values, dtype=torch.float32).to(self.device) for values in (scaling.mean, scaling.std)
        )
        self._features, self._lengths = part_sequences.features.to(self.device), part_sequences.lengths.to(self.device)
        self._recordings = part_sequences.recordings
        self.labels = part_sequences.labels.to(self.device)

    def __len__(self) -> int:
        return len(self._lengths)

    def batch(
        self,
        indices: torch.Tensor,
        augmentation: AudioAugmentation | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the sequences `indices` (int64 `[B]`), float32 `[B, T, F]`, and their lengths, int64 `[B]`.

        T is the longest length in the batch. With an augmentation, the features are recomputed from augmented
        recordings. Raises UsageError for an augmentation without generator, and MissingPartError without torchaudio.
        """
        indices = indices.to(self.device)
        if augmentation is None or augmentation.is_identity:
            lengths = self._lengths.index_select(0, indices)
            x = self._features[:, : int(lengths.max())].index_select(0, indices)
        else:
            if generator is None:
                raise UsageError("A batch with random augmentation needs a torch.Generator; got None.")
            features = self._augmented(self._recordings[indices.cpu()].tolist(), augmentation, generator)
            x = torch.nn.utils.rnn.pad_sequence(features, batch_first=True).to(self.device)
            lengths = torch.tensor([len(frames) for frames in features], device=self.device)
        inside = torch.arange(x.shape[1], device=self.device) < lengths[:, None]
        return torch.where(inside[:, :, None], (x - self._mean) / self._std, 0.0), lengths

    def order(self, generator: torch.Generator) -> torch.Tensor:
        """Return a random permutation of the sequence numbers, int64 `[N]` on the pipeline's device."""
        return torch.randperm(len(self), generator=generator, device=generator.device).to(self.device)

    def _augmented(
        self, chosen: list[int], augmentation: AudioAugmentation, generator: torch.Generator
    ) -> list[torch.Tensor]:
        spoken, mfcc = self._dataset.recordings, self._dataset.mfcc
        augmented = (augmentation(spoken.waveforms[k], spoken.sample_rate, generator) for k in chosen)
        return [mfcc(sound, spoken.sample_rate) for sound in augmented]
