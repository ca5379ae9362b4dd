"""The Free Spoken Digit Dataset: {digit}_{speaker}_{index}.wav at 8 kHz, 16 bits, one channel."""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from pathlib import Path

import numpy as np
import torch

from scff_hw.data.file_digests import listing, sha256
from scff_hw.data.files import Verified, damaged, missing, read_bytes
from scff_hw.data.types import Recordings

NAME = "fsdd"
FOLDER = "free-spoken-digit-dataset/recordings"
SAMPLE_RATE_HZ = 8_000
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
TAKES = 50
RELEASE_SHA256 = "1801eae019c063377d98f831d3f93574f259475df7332bb0e3d1b080fb5e6959"
"""SHA-256 of a SHA256SUMS, sorted by name, of the recordings in release v1.0.10; computed, since none is published."""
# The publisher's split: the first takes of each speaker and digit are the test set.
_TEST_TAKES = 5
_FILE_NAME = re.compile(r"([0-9])_([A-Za-z]+)_([0-9]+)\.wav", re.IGNORECASE)

Key = tuple[int, str, int]
"""Digit, speaker and take of a recording."""


def parse_wav(path: Path, content: bytearray) -> torch.Tensor:
    """Return the samples of one recording as int16 [T]; chunks other than the format and the samples are skipped.

    Raises DataError if `content` is not a complete WAV file with 8 kHz, 16 bits, one channel and at least one sample.
    """
    from scipy.io import wavfile

    declared = int.from_bytes(content[4:8], "little") + 8
    if len(content) < 12 or content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise damaged(
            NAME, path, "does not start with the header of a WAV file", "every recording is a WAV file"
        )
    if len(content) < declared:
        raise damaged(NAME, path, f"holds {len(content)} bytes", f"its header declares {declared}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", wavfile.WavFileWarning)
            warnings.filterwarnings("ignore", r"Chunk \(non-data\) not understood", wavfile.WavFileWarning)
            rate, samples = wavfile.read(io.BytesIO(content))
    # scipy raises various errors for a damaged header: struct.error, ZeroDivisionError, ...
    except Exception as error:
        problem = f"is not a valid WAV file ({error})"
        raise damaged(NAME, path, problem, "every chunk of it must be readable") from None
    if rate != SAMPLE_RATE_HZ or samples.dtype != np.int16 or samples.ndim != 1 or samples.size == 0:
        problem = f"holds {list(samples.shape)} samples of type {samples.dtype} at {rate} Hz"
        raise damaged(
            NAME, path, problem, f"a recording has one channel of int16 samples at {SAMPLE_RATE_HZ} Hz"
        )
    return torch.from_numpy(samples.copy())


def load(root: Path) -> Recordings:
    """Read the recordings of `root`/free-spoken-digit-dataset/recordings, with the publisher's split.

    Takes 0 to 4 of each speaker and digit are the test set (300 of the 3000 recordings), the others the
    training set. The suffix may be .wav or .WAV; hidden files, e.g. those of macOS, are ignored.
    """
    return _read(_recordings(root / FOLDER))


def _read(recordings: dict[Key, Path]) -> Recordings:
    takes = torch.tensor([take for _, _, take in recordings])
    return Recordings(
        waveforms=tuple(parse_wav(path, read_bytes(NAME, path)) for path in recordings.values()),
        labels=torch.tensor([digit for digit, _, _ in recordings]),
        speakers=tuple(speaker for _, speaker, _ in recordings),
        indices=takes,
        is_test=takes < _TEST_TAKES,
        sample_rate=SAMPLE_RATE_HZ,
    )


def _recordings(folder: Path) -> dict[Key, Path]:
    """Return the paths of the recordings in `folder`, sorted by digit, speaker and take."""
    if not folder.is_dir():
        raise missing(NAME, folder)
    recordings: dict[Key, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() != ".wav" or path.name.startswith("."):
            continue
        match = _FILE_NAME.fullmatch(path.name)
        if match is None:
            allowed = "a recording is named {digit}_{speaker}_{index}.wav"
            raise damaged(NAME, path, "has a name that cannot be read", allowed)
        key = int(match[1]), match[2], int(match[3])
        if key in recordings:
            problem = f"is a second recording beside {recordings[key].name}"
            raise damaged(NAME, path, problem, "a digit, speaker and index name one recording")
        recordings[key] = path
    if not recordings:
        raise damaged(NAME, folder, "holds no .wav file", "the published folder holds 3000")
    return dict(sorted(recordings.items()))


def verify(folder: Path) -> list[Verified]:
    """Check that each of the 3000 published recordings is in `folder`, is readable, and has the published bytes.

    The reference is release v1.0.10, the only release with 3000 recordings; upper or lower case of suffixes is ignored.
    """
    recordings = _recordings(folder)
    for digit in range(10):
        for speaker in SPEAKERS:
            for take in range(TAKES):
                if (digit, speaker, take) not in recordings:
                    raise missing(NAME, folder / _published_name((digit, speaker, take)))
    _read(recordings)
    sha = digest(recordings)
    if sha != RELEASE_SHA256:
        raise damaged(
            NAME,
            folder,
            f"holds other recordings than were published: the SHA-256 of their digests is {sha}",
            f"that of release v1.0.10 is {RELEASE_SHA256}",
        )
    size = sum(path.stat().st_size for path in recordings.values())
    return [Verified(folder, size, f"SHA-256 of {len(recordings)} recordings")]


def digest(recordings: dict[Key, Path]) -> str:
    """Return the SHA-256, in hexadecimal, of a SHA256SUMS of `recordings` with their published names."""
    digests = {_published_name(key): sha256(NAME, path) for key, path in recordings.items()}
    return hashlib.sha256(listing(digests)).hexdigest()


def _published_name(key: Key) -> str:
    digit, speaker, take = key
    return f"{digit}_{speaker}_{take}.wav"
