"""The Free Spoken Digit Dataset: {digit}_{speaker}_{index}.wav at 8 kHz, 16 bits, one channel."""

from __future__ import annotations

import io
import re
import warnings
from pathlib import Path

import numpy as np
import torch

from scff_hw.data._files import Verified, damaged, missing, read_bytes
from scff_hw.data._types import Recordings

NAME = "fsdd"
FOLDER = "free-spoken-digit-dataset/recordings"
SAMPLE_RATE_HZ = 8_000
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
TAKES = 50
# The publisher's split: the first takes of each speaker and digit are the test set.
_TEST_TAKES = 5
_FILE_NAME = re.compile(r"([0-9])_([A-Za-z]+)_([0-9]+)\.wav")


def parse_wav(path: Path, content: bytearray) -> torch.Tensor:
    """Return the samples of one recording as int16 [T].

    Raises DataError if `content` is not a whole WAV file of 8 kHz, 16 bits and one channel with at least one
    sample.
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
            rate, samples = wavfile.read(io.BytesIO(content))
    # scipy answers a damaged header with whatever trips: struct.error, ZeroDivisionError, ...
    except Exception as error:
        found = f"is not a sound WAV file ({error})"
        raise damaged(NAME, path, found, "every chunk of it must be readable") from None
    if rate != SAMPLE_RATE_HZ or samples.dtype != np.int16 or samples.ndim != 1 or samples.size == 0:
        found = f"holds {list(samples.shape)} samples of type {samples.dtype} at {rate} Hz"
        raise damaged(
            NAME, path, found, f"a recording has one channel of int16 samples at {SAMPLE_RATE_HZ} Hz"
        )
    return torch.from_numpy(samples.copy())


def load(root: Path) -> Recordings:
    """Read the recordings of `root`/free-spoken-digit-dataset/recordings, with the publisher's split.

    Takes 0 to 4 of each speaker and digit are the test set (300 of the 3000 recordings), the others the
    training set.
    """
    folder = root / FOLDER
    if not folder.is_dir():
        raise missing(NAME, folder)
    named = sorted(_name_parts(path) for path in folder.glob("*.wav"))
    if not named:
        raise damaged(NAME, folder, "holds no .wav file", "the published folder holds 3000")
    takes = torch.tensor([take for _, _, take, _ in named])
    return Recordings(
        waveforms=tuple(parse_wav(path, read_bytes(NAME, path)) for *_, path in named),
        labels=torch.tensor([digit for digit, *_ in named]),
        speakers=tuple(speaker for _, speaker, _, _ in named),
        indices=takes,
        is_test=takes < _TEST_TAKES,
        sample_rate=SAMPLE_RATE_HZ,
    )


def _name_parts(path: Path) -> tuple[int, str, int, Path]:
    match = _FILE_NAME.fullmatch(path.name)
    if match is None:
        allowed = "a recording is named {digit}_{speaker}_{index}.wav"
        raise damaged(NAME, path, "has a name that cannot be read", allowed)
    return int(match[1]), match[2], int(match[3]), path


def verify(root: Path) -> list[Verified]:
    """Check that each of the 3000 published recordings is there and is a whole WAV file of the right kind.

    This is a check of structure: the publisher gives no checksum.
    """
    folder = root / FOLDER
    if not folder.is_dir():
        raise missing(NAME, folder)
    for digit in range(10):
        for speaker in SPEAKERS:
            for take in range(TAKES):
                path = folder / f"{digit}_{speaker}_{take}.wav"
                if not path.exists():
                    raise missing(NAME, path)
    recordings = load(root)
    size = sum(path.stat().st_size for path in folder.glob("*.wav"))
    return [Verified(folder, size, f"names and headers of {len(recordings)} recordings")]
