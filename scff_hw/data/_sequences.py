"""Recordings as padded sequences of features, computed once and kept on disk."""

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
from scff_hw.data import _fsdd
from scff_hw.data._audio import Mfcc
from scff_hw.data._audio_augment import AudioAugmentation
from scff_hw.data._files import data_root
from scff_hw.data._types import Recordings
from scff_hw.errors import UsageError, nearest
from scff_hw.files import partial_file

_UNCHANGED = AudioAugmentation()

CACHE_FORMAT = 1
"""Raise it with every change of what is computed: it is part of the cache's key."""


@dataclass(frozen=True, eq=False)
class Sequences:
    """Sequences of frames, filled up with zeros to the longest.

    `features` is float32 `[N, T, F]`, `lengths` int64 `[N]` with values in 1..T, `labels` int64 `[N]`, `speakers[k]`
    a name, `is_test` bool `[N]`, `recordings` int64 `[N]`, where each stands in what it was read from. Raises
    UsageError where these do not fit together, or what lies behind the end of a sequence is not zero.
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
        behind = torch.arange(steps) >= self.lengths[:, None]
        if bool((self.features != 0).any(dim=2).logical_and(behind).any()):
            raise UsageError("Sequences must be filled up with zeros. Got values behind the end of one instead.")

    def __len__(self) -> int:
        return len(self.features)

    @property
    def train(self) -> Sequences:
        """The sequences of the training part."""
        return self.take(~self.is_test)

    @property
    def test(self) -> Sequences:
        """The sequences of the test part."""
        return self.take(self.is_test)

    def take(self, chosen: torch.Tensor) -> Sequences:
        """The sequences for which `chosen`, bool `[N]`, is true; padded no further than their longest."""
        kept = chosen.nonzero()[:, 0]
        lengths = self.lengths[kept]
        longest = int(lengths.max()) if len(kept) else 0
        return Sequences(
            self.features[kept, :longest],
            lengths,
            self.labels[kept],
            tuple(self.speakers[k] for k in kept.tolist()),
            self.is_test[kept],
            self.recordings[kept],
        )

    def leave_out(self, speaker: str) -> Sequences:
        """The same sequences with all those of `speaker` as test part, and all others as training part.

        Raises UsageError for a speaker who is not there, or who is the only one.
        """
        known = sorted(set(self.speakers))
        if speaker not in known or len(known) < 2:
            raise UsageError(
                f"The speaker to leave out must be one of several; there are: {', '.join(known)}. "
                f"Got '{speaker}' instead{nearest(speaker, known, '.')}"
            )
        return replace(self, is_test=torch.tensor([name == speaker for name in self.speakers]))

    def hold_out(self, count: int, seed: int) -> Sequences:
        """The training part alone, with `count` random sequences of it as test part, to choose values by.

        The choice depends on `seed` alone. Raises UsageError unless 1 <= count < number of training sequences.
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

    What was computed is kept in the folder `features` beside the data, under a name that changes with every
    parameter, with the recordings, and with the versions of torch and torchaudio. Where nothing can be written there,
    the features are computed each time.

    With an `augmentation` every recording is changed before its features are computed, the test part too, by amounts
    that depend on `seed` alone; each seed gives another version.

    Raises DataError for data that is missing or damaged, and MissingPartError where features must be computed and
    torchaudio is not installed.
    """
    root = data_root(data_dir)
    recordings, wanted, changed = _fsdd.load(root), mfcc or Mfcc(), augmentation or AudioAugmentation()
    path = root / "features" / f"{_fsdd.NAME}-{cache_key(recordings, wanted, changed, seed)}.npz"
    found = _read_cache(path, len(recordings), wanted.features)
    if found is None:
        found = [wanted(waveform, recordings.sample_rate) for waveform in _changed(recordings, changed, seed)]
        _write_cache(path, found)
    return Sequences(
        torch.nn.utils.rnn.pad_sequence(found, batch_first=True),
        torch.tensor([len(frames) for frames in found]),
        recordings.labels,
        recordings.speakers,
        recordings.is_test,
        torch.arange(len(recordings)),
    )


def _changed(recordings: Recordings, augmentation: AudioAugmentation, seed: int) -> Iterator[torch.Tensor]:
    for k, waveform in enumerate(recordings.waveforms):
        if augmentation.is_identity:
            yield waveform
        else:
            yield augmentation(waveform, recordings.sample_rate, generator(seed, "audio", k))


def cache_key(
    recordings: Recordings, wanted: Mfcc, augmentation: AudioAugmentation = _UNCHANGED, seed: int = 0
) -> str:
    """A name, 32 hexadecimal digits, for all that decides what the features are."""
    digest = hashlib.sha256()
    about = {
        "format": CACHE_FORMAT,
        "mfcc": asdict(wanted),
        "augmentation": None if augmentation.is_identity else [asdict(augmentation), seed],
        "versions": _versions(),
        "sample_rate": recordings.sample_rate,
        "lengths": [len(waveform) for waveform in recordings.waveforms],
    }
    digest.update(json.dumps(about, sort_keys=True).encode())
    for waveform in recordings.waveforms:
        digest.update(waveform.numpy().tobytes())
    return digest.hexdigest()[:32]


def _versions() -> list[str]:
    found = []
    for name in ("torch", "torchaudio"):
        try:
            found.append(version(name))
        except PackageNotFoundError:
            found.append("none")
    return found


def _read_cache(path: Path, count: int, features: int) -> list[torch.Tensor] | None:
    """The frames of each recording; None where there is no whole cache."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            frames, lengths = archive["frames"], archive["lengths"]
    # numpy and zipfile answer a damaged file with whatever trips: NotImplementedError, MemoryError, zlib.error, ...
    except Exception:
        return None
    sound = (
        frames.dtype == np.float32
        and frames.ndim == 2
        and frames.shape[1] == features
        and lengths.dtype == np.int64
        and lengths.shape == (count,)
        and bool((lengths > 0).all())
        and int(lengths.sum()) == len(frames)
    )
    return list(torch.from_numpy(frames).split(lengths.tolist())) if sound else None


def _write_cache(path: Path, found: Sequence[torch.Tensor]) -> None:
    frames = torch.cat(list(found)).numpy()
    lengths = np.array([len(part) for part in found], dtype=np.int64)
    with suppress(OSError), partial_file(path) as temporary, open(temporary, "wb") as stream:
        np.savez(stream, frames=frames, lengths=lengths)
