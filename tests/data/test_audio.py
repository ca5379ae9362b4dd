"""MFCC features of valid and invalid recordings."""

from __future__ import annotations

import sys
import warnings

import pytest
import torch
from scipy.fft import dct
from torch import Tensor

from scff_hw.data import Mfcc
from scff_hw.data.torchaudio_import import load_torchaudio
from scff_hw.errors import DataError, MissingPartError, UsageError


def tone(samples: int, rate_hz: int = 8000, hertz: float = 440.0, loudness: float = 0.5) -> Tensor:
    time_s = torch.arange(samples, dtype=torch.float64) / rate_hz
    wave = torch.sin(2 * torch.pi * hertz * time_s) + 0.1 * torch.sin(2 * torch.pi * 5.3 * hertz * time_s)
    return (loudness * wave / 1.1).float()


def test_features_are_cepstral_coefficients() -> None:
    """Comparison with spectrogram, filter bank, logarithm and cosine transform in float64, without torchaudio."""
    wanted = Mfcc(coefficients=13, mels=24)
    wave = tone(4000, 16000)
    found = wanted(wave, 16000)
    padded = torch.nn.functional.pad(wave.double()[None], (200, 200), mode="reflect")[0]
    spectrum = torch.fft.rfft(padded.unfold(0, 400, 200) * torch.hann_window(400, dtype=torch.float64)).abs() ** 2
    edges = torch.linspace(0, 2595 * torch.log10(torch.tensor(1 + 8000 / 700)), 26, dtype=torch.float64)
    hertz = 700 * (10 ** (edges / 2595) - 1)
    bins = torch.linspace(0, 8000, 201, dtype=torch.float64)[:, None]
    rising = (bins - hertz[:-2]) / (hertz[1:-1] - hertz[:-2])
    falling = (hertz[2:] - bins) / (hertz[2:] - hertz[1:-1])
    decibels = 10 * torch.log10((spectrum @ torch.minimum(rising, falling).clamp_min(0)).clamp_min(1e-10))
    decibels = decibels.clamp_min(decibels.max() - 80)
    truth = torch.from_numpy(dct(decibels.numpy(), norm="ortho"))[:, 1:13].float()
    assert found.dtype == torch.float32 and found.shape == (21, 12) == truth.shape
    torch.testing.assert_close(found, truth, rtol=1e-3, atol=2e-2)


def test_a_recording_in_another_rate_sounds_the_same() -> None:
    wanted = Mfcc()
    direct, resampled = wanted(tone(8000, 16000), 16000), wanted(tone(22050, 44100), 44100)
    assert direct.shape == resampled.shape == (41, 39)
    inside = slice(3, -3)
    assert torch.nn.functional.cosine_similarity(direct[inside], resampled[inside]).min() > 0.9


def test_integers_are_shares_of_full_scale() -> None:
    wave = tone(2000)
    as_int16 = (wave * 32768).round().clamp(-32768, 32767).to(torch.int16)
    torch.testing.assert_close(Mfcc()(as_int16, 8000), Mfcc()(as_int16.float() / 32768, 8000))


def test_a_silent_recording_is_zeros() -> None:
    found = Mfcc()(torch.zeros(2000, dtype=torch.int16), 8000)
    assert found.shape == (21, 39) and not found.any()


def test_silence_inside_a_recording_is_zeros() -> None:
    """More than a window away from any sound, at the original rate."""
    found = Mfcc()(torch.cat([tone(4000, 16000), torch.zeros(4000)]), 16000)
    assert not found[23:].any() and bool((found[:19].std(dim=1) > 1).all())


def test_a_clipped_recording_is_taken_as_it_is() -> None:
    found = Mfcc()((tone(2000) * 10).clamp(-1, 1), 8000)
    assert bool(torch.isfinite(found).all()) and found.std() > 1


@pytest.mark.parametrize("samples", [1, 5, 100, 101])
def test_a_recording_shorter_than_a_window_is_filled_up(samples: int) -> None:
    found = Mfcc()(torch.ones(samples, dtype=torch.int16), 8000)
    assert found.shape == (2, 39) and bool(torch.isfinite(found).all())


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (torch.zeros(0, dtype=torch.int16), "at least one sample. Got an empty one"),
        (torch.zeros(2, 100, dtype=torch.int16), r"one channel, shape \[samples\]. Got shape \[2, 100\]"),
        (torch.zeros(100, dtype=torch.uint8), "int16 or floating point. Got torch.uint8"),
        (torch.full((100,), 300.0), r"in -1..1. Got 300"),
        (torch.tensor([0.0, float("nan")]), r"in -1..1. Got nan"),
        (torch.tensor([0.0, float("inf")]), r"in -1..1. Got inf"),
    ],
)
def test_bad_recordings(waveform: Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Mfcc()(waveform, 8000)


@pytest.mark.parametrize(
    ("rate", "message"),
    [
        (0, "whole number of hertz from 1 up. Got 0"),
        (-8000, "Got -8000"),
        (8000.0, "Got 8000.0"),
        (44101, "to 16000 Hz must be one of integers up to 1000. Got 44101 Hz"),
    ],
)
def test_bad_rates(rate: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Mfcc()(tone(100), rate)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"coefficients": 1}, r"The coefficients of MFCC features must be a whole number in 2..128. Got 1"),
        ({"coefficients": 41, "mels": 40}, "in 2..40. Got 41"),
        ({"hop_samples": 0}, "hop_samples .* in 1..400. Got 0"),
        ({"hop_samples": 401}, "hop_samples .* in 1..400. Got 401"),
        ({"mels": 2.5}, "mels .* Got 2.5"),
        ({"sample_rate_hz": True}, "sample_rate_hz .* Got True"),
    ],
)
def test_bad_parameters(values: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Mfcc(**values)


def test_without_torchaudio_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchaudio", None)
    with pytest.raises(MissingPartError, match=r"need torchaudio.*; type: pip install 'scff-hw\[audio\]'"):
        load_torchaudio()


def test_torchaudio_loads_twice() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_torchaudio() is load_torchaudio()
