"""Mel-frequency cepstral coefficients of one recording."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F

from scff_hw.data._torchaudio import load_torchaudio
from scff_hw.errors import DataError, UsageError

SILENT_SPREAD_DB = 1e-3
"""A frame whose coefficients differ by less than this has no spectrum, only rounding errors."""

_LARGEST_RATIO = 1000


@dataclass(frozen=True)
class Mfcc:
    """How a recording becomes a sequence of frames; the defaults are those of the paper's authors.

    sample_rate_hz: the recording is resampled to this rate.
    coefficients: how many are computed; the first, the loudness, is dropped.
    window_samples, hop_samples: length of a frame and distance between two, at that rate.
    mels: bands of the mel filter bank.

    Raises UsageError unless all are whole numbers, 2 <= coefficients <= mels, 2 <= window_samples, and
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
        """Values a frame."""
        return self.coefficients - 1

    def __call__(self, waveform: torch.Tensor, rate_hz: int) -> torch.Tensor:
        """Return the features of a recording, float32 `[frames, features]`, in decibels, as torchaudio computes them.

        `waveform` is `[samples]`, int16, or floating point in -1..1. A silent frame is all zeros, so a silent
        recording is too. A clipped recording is taken as it is. One that is shorter than half a window is filled up
        with silence. The last frame's window may reach beyond the end, where the recording is reflected.

        Raises DataError for a recording that is empty, has several channels, is not finite or lies outside its
        range, and for a rate that cannot be brought to `sample_rate_hz`.
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
    if not loudest <= 1:  # not a number is not either
        raise DataError(f"The samples of a floating-point recording must be in -1..1. Got {loudest:g} instead.")
    return waveform.float()


def _checked_rate(rate_hz: int, wanted_hz: int) -> int:
    if isinstance(rate_hz, bool) or not isinstance(rate_hz, int) or rate_hz < 1:
        raise DataError(f"The rate of a recording must be a whole number of hertz from 1 up. Got {rate_hz!r} instead.")
    common = math.gcd(rate_hz, wanted_hz)
    # the resampling filter has a row a sample of the shorter period: gigabytes where the rates have little in common
    if max(rate_hz, wanted_hz) // common > _LARGEST_RATIO:
        raise DataError(
            f"The rate of a recording must stand to {wanted_hz} Hz as numbers up to {_LARGEST_RATIO} do. "
            f"Got {rate_hz} Hz instead."
        )
    return rate_hz


@cache
def _resampler(rate_hz: int, wanted_hz: int) -> Any:
    return load_torchaudio().Resample(rate_hz, wanted_hz)


@cache
def _transform(wanted: Mfcc) -> Any:
    with warnings.catch_warnings():
        # 128 bands are more than a window of 400 samples can tell apart; the paper's features have them all the same
        warnings.filterwarnings("ignore", "At least one mel filterbank has all zero values")
        return load_torchaudio().MFCC(
            wanted.sample_rate_hz,
            wanted.coefficients,
            melkwargs={
                "n_fft": wanted.window_samples,
                "hop_length": wanted.hop_samples,
                "n_mels": wanted.mels,
            },
        )
