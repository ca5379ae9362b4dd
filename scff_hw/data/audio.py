"""Mel-frequency cepstral coefficients of one recording."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F

from scff_hw.data.torchaudio_import import load_torchaudio
from scff_hw.errors import DataError, UsageError

SILENT_SPREAD_DB = 1e-3
"""Standard deviation over a frame's coefficients in dB below which the frame is silent: rounding errors only."""

_LARGEST_RATIO = 1000


@dataclass(frozen=True)
class Mfcc:
    """Parameters of the MFCC features of a recording; the defaults are those of the paper's authors.

    sample_rate_hz: rate to which recordings are resampled.
    coefficients: number of coefficients computed; the first, the loudness, is dropped.
    window_samples, hop_samples: frame length and distance between frames, in samples at `sample_rate_hz`.
    mels: number of bands of the mel filter bank.

    Raises UsageError unless all are integers, 2 <= coefficients <= mels, 2 <= window_samples, and
    1 <= hop_samples <= window_samples.
    """

    sample_rate_hz: int = 16_000
    coefficients: int = 40
    window_samples: int = 400
    hop_samples: int = 200
    mels: int = 128

    def __post_init__(self) -> None:
        limits = {
            "sample_rate_hz": (1000, 192_000),
            "window_samples": (2, 1 << 16),
            "hop_samples": (1, self.window_samples),
            "mels": (2, 1024),
            "coefficients": (2, self.mels),
        }
        for name, (least, most) in limits.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
                raise UsageError(
                    f"The {name} of MFCC features must be a whole number in {least}..{most}. "
                    f"Got {value!r} instead."
                )

    @property
    def features(self) -> int:
        """Number of features per frame."""
        return self.coefficients - 1

    def __call__(self, waveform: torch.Tensor, rate_hz: int) -> torch.Tensor:
        """Return the features of a recording, float32 `[frames, features]`, in decibels, as torchaudio computes them.

        `waveform` is `[samples]`, int16, or floating point in -1..1. A silent frame is all zeros. A clipped recording
        is used unchanged. A recording shorter than half a window is padded with zeros. The window of the last frame may
        extend beyond the end, where the recording is reflected.

        Raises DataError for a recording that is empty, has several channels, is not finite or is out of range, and for
        a rate that cannot be resampled to `sample_rate_hz`.
        """
        sound = _resampler(_checked_rate(rate_hz, self.sample_rate_hz), self.sample_rate_hz)(_checked(waveform))
        sound = F.pad(sound, (0, max(0, self.window_samples // 2 + 1 - len(sound))))
        frames = _transform(self)(sound)[1:].T.contiguous()
        frames[frames.std(dim=1) < SILENT_SPREAD_DB] = 0
        return frames


def _checked(waveform: torch.Tensor) -> torch.Tensor:
    if waveform.dim() != 1:
        raise DataError(
            f"A recording must have one channel, shape [samples]. Got shape {list(waveform.shape)} instead."
        )
    if len(waveform) == 0:
        raise DataError("A recording must have at least one sample. Got an empty one instead.")
    if waveform.dtype == torch.int16:
        return waveform.float() / 32768
    if not waveform.is_floating_point():
        raise DataError(f"The samples of a recording must be int16 or floating point. Got {waveform.dtype} instead.")
    loudest = float(waveform.abs().max())
    if not loudest <= 1:  # also true for NaN
        raise DataError(f"The samples of a floating-point recording must be in -1..1. Got {loudest:g} instead.")
    return waveform.float()


def _checked_rate(rate_hz: int, target_hz: int) -> int:
    if isinstance(rate_hz, bool) or not isinstance(rate_hz, int) or rate_hz < 1:
        raise DataError(f"The rate of a recording must be a whole number of hertz from 1 up. Got {rate_hz!r} instead.")
    common = math.gcd(rate_hz, target_hz)
    # the resampling filter has one row per sample of the shorter period: gigabytes if the rates have no common factor
    if max(rate_hz, target_hz) // common > _LARGEST_RATIO:
        raise DataError(
            f"The ratio of a recording's rate to {target_hz} Hz must be one of integers up to {_LARGEST_RATIO}. "
            f"Got {rate_hz} Hz instead."
        )
    return rate_hz


@cache
def _resampler(rate_hz: int, target_hz: int) -> Any:
    return load_torchaudio().Resample(rate_hz, target_hz)


@cache
def _transform(mfcc: Mfcc) -> Any:
    with warnings.catch_warnings():
        # a window of 400 samples cannot resolve 128 bands; the paper's features use them nevertheless
        warnings.filterwarnings("ignore", "At least one mel filterbank has all zero values")
        return load_torchaudio().MFCC(
            mfcc.sample_rate_hz,
            mfcc.coefficients,
            melkwargs={
                "n_fft": mfcc.window_samples,
                "hop_length": mfcc.hop_samples,
                "n_mels": mfcc.mels,
            },
        )
