"""Recordings as padded sequences of features, computed once and cached on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

from scff_hw.core.packing import check_lengths
from scff_hw.core.random import generator
from scff_hw.data import fsdd as _fsdd
from scff_hw.data.audio import Mfcc
from scff_hw.data.audio_augment import AudioAugmentation
from scff_hw.data.files import data_root
from scff_hw.data.types import Recordings
from scff_hw.errors import UsageError, nearest
from scff_hw.files import partial_file

_UNCHANGED = AudioAugmentation()

CACHE_FORMAT = 1
"""Part of the cache key; increase it whenever the computed features change."""


@dataclass(frozen=True, eq=False)
class Sequences:
    """Sequences of frames, zero-padded to the length of the longest.

    `features` is float32 `[N, T, F]`, `lengths` int64 `[N]` with values in 1..T, `labels` int64 `[N]`, `speakers[k]`
    a name, `is_test` bool `[N]`, `recordings` int64 `[N]`, the index of each recording in the data set. Raises
    UsageError if the sizes do not match, or a value after the end of a sequence is not zero.
    """

    features: torch.Tensor
    lengths: torch.Tensor
    labels: torch.Tensor
    speakers: tuple[str, ...]
    is_test: torch.Tensor
    recordings: torch.Tensor

    def __post_init__(self) -> None:
        if self.features.dim() != 3:
            raise UsageError(
                f"The features of sequences must have shape [N, T, F]. Got {list(self.features.shape)} instead."
            )
        count, steps, _ = self.features.shape
        for name in ("lengths", "labels", "is_test", "speakers", "recordings"):
            if len(getattr(self, name)) != count:
                raise UsageError(
                    f"The {name} of {count} sequences must be as many. Got {len(getattr(self, name))} instead."
                )
        check_lengths(self.lengths, count, steps)
        padding = torch.arange(steps) >= self.lengths[:, None]
        if bool((self.features != 0).any(dim=2).logical_and(padding).any()):
            raise UsageError("Sequences must be filled up with zeros. Got values behind the end of one instead.")

    def __len__(self) -> int:
        return len(self.features)

    @property
    def train(self) -> Sequences:
        """Sequences of the training part."""
        return self.take(~self.is_test)

    @property
    def test(self) -> Sequences:
        """Sequences of the test part."""
        return self.take(self.is_test)

    def take(self, chosen: torch.Tensor) -> Sequences:
        """Return the sequences for which `chosen`, bool `[N]`, is true, padded to the longest chosen sequence."""
        indices = chosen.nonzero()[:, 0]
        lengths = self.lengths[indices]
        longest = int(lengths.max()) if len(indices) else 0
        return Sequences(
            self.features[indices, :longest],
            lengths,
            self.labels[indices],
            tuple(self.speakers[k] for k in indices.tolist()),
            self.is_test[indices],
            self.recordings[indices],
        )

    def leave_out(self, speaker: str) -> Sequences:
        """Return a copy with the sequences of `speaker` as test part and all others as training part.

        Raises UsageError for an unknown speaker, or if there is only one speaker.
        """
        known = sorted(set(self.speakers))
        if speaker not in known or len(known) < 2:
            raise UsageError(
                f"The speaker to leave out must be one of several; there are: {', '.join(known)}. "
                f"Got '{speaker}' instead{nearest(speaker, known, '.')}"
            )
        return replace(self, is_test=torch.tensor([name == speaker for name in self.speakers]))

    def hold_out(self, count: int, seed: int) -> Sequences:
        """Return the training part, with `count` random sequences of it as test part, for tuning.

        The choice depends only on `seed`. Raises UsageError unless 1 <= count < number of training sequences.
        """
        train = self.train
        if not 1 <= count < len(train):
            raise UsageError(f"The number of sequences held out must be in 1..{len(train) - 1}. Got {count} instead.")
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
        return replace(train, is_test=torch.zeros(len(train), dtype=torch.bool).index_fill(0, order[:count], True))


def load_sequences(
    data_dir: str | Path | None = None,
    mfcc: Mfcc | None = None,
    augmentation: AudioAugmentation | None = None,
    seed: int = 0,
) -> Sequences:
    """Read the Free Spoken Digit Dataset as MFCC features, with the publisher's split.

    Features are cached in the folder `features` of the data directory. The file name depends on every parameter, on the
    recordings, and on the versions of torch and torchaudio. If the folder is not writable, features are computed at
    every call.

    With an `augmentation` every recording, also of the test part, is augmented before its features are computed; the
    random numbers depend only on `seed`.

    Raises DataError for missing or damaged data, and MissingPartError if features must be computed without
    torchaudio.
    """
    root = data_root(data_dir)
    recordings, extract, augment = _fsdd.load(root), mfcc or Mfcc(), augmentation or AudioAugmentation()
    path = root / "features" / f"{_fsdd.NAME}-{cache_key(recordings, extract, augment, seed)}.npz"
    sequences = _read_cache(path, len(recordings), extract.features)
    if sequences is None:
        sequences = [extract(waveform, recordings.sample_rate) for waveform in _augmented(recordings, augment, seed)]
        _write_cache(path, sequences)
    return Sequences(
        torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True),
        torch.tensor([len(frames) for frames in sequences]),
        recordings.labels,
        recordings.speakers,
        recordings.is_test,
        torch.arange(len(recordings)),
    )


def _augmented(recordings: Recordings, augmentation: AudioAugmentation, seed: int) -> Iterator[torch.Tensor]:
    for k, waveform in enumerate(recordings.waveforms):
        if augmentation.is_identity:
            yield waveform
        else:
            yield augmentation(waveform, recordings.sample_rate, generator(seed, "audio", k))


def cache_key(
    recordings: Recordings, mfcc: Mfcc, augmentation: AudioAugmentation = _UNCHANGED, seed: int = 0
) -> str:
    """Return the cache key of features, 32 hexadecimal digits: a hash of everything that determines the features."""
    digest = hashlib.sha256()
    parameters = {
        "format": CACHE_FORMAT,
        "mfcc": asdict(mfcc),
        "augmentation": None if augmentation.is_identity else [asdict(augmentation), seed],
        "versions": _versions(),
        "sample_rate": recordings.sample_rate,
        "lengths": [len(waveform) for waveform in recordings.waveforms],
    }
    digest.update(json.dumps(parameters, sort_keys=True).encode())
    for waveform in recordings.waveforms:
        digest.update(waveform.numpy().tobytes())
    return digest.hexdigest()[:32]


def _versions() -> list[str]:
    versions = []
    for name in ("torch", "torchaudio"):
        try:
            versions.append(version(name))
        except PackageNotFoundError:
            versions.append("none")
    return versions


def _read_cache(path: Path, count: int, features: int) -> list[torch.Tensor] | None:
    """Return the cached frames of each recording, float32 `[T, F]`; None without a valid cache."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            frames, lengths = archive["frames"], archive["lengths"]
    # numpy and zipfile raise various errors for a damaged file: NotImplementedError, MemoryError, zlib.error, ...
    except Exception:
        return None
    valid = (
        frames.dtype == np.float32
        and frames.ndim == 2
        and frames.shape[1] == features
        and lengths.dtype == np.int64
        and lengths.shape == (count,)
        and bool((lengths > 0).all())
        and int(lengths.sum()) == len(frames)
    )
    return list(torch.from_numpy(frames).split(lengths.tolist())) if valid else None


def _write_cache(path: Path, sequences: Sequence[torch.Tensor]) -> None:
    frames = torch.cat(list(sequences)).numpy()
    lengths = np.array([len(part) for part in sequences], dtype=np.int64)
    with suppress(OSError), partial_file(path) as temporary, open(temporary, "wb") as stream:
        np.savez(stream, frames=frames, lengths=lengths)
