"""Shifts, gains and noise of recordings."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from scff_hw.data import AudioAugmentation
from scff_hw.errors import UsageError


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def changed(waveform: Tensor, seed: int = 0, **amounts: float) -> Tensor:
    return AudioAugmentation(**amounts)(waveform, 8000, draw(seed))


WAVE = torch.arange(1, 101, dtype=torch.int16) * 100


def test_nothing_changes_by_default() -> None:
    assert AudioAugmentation().is_identity and not AudioAugmentation(gain_db=1).is_identity
    assert torch.equal(changed(WAVE), WAVE.float() / 32768)


def test_a_shift_moves_silence_in() -> None:
    found = {int((changed(WAVE, seed, shift_ms=5) * 32768).round().argmax()) for seed in range(200)}
    # up to 40 samples to the left; to the right the end is lost
    assert found <= set(range(59, 100)) and len(found) > 20
    for seed in range(20):
        moved = (changed(WAVE, seed, shift_ms=5) * 32768).round()
        sound = moved[moved > 0]
        assert len(moved) == 100 and len(sound) >= 60
        assert bool((sound.diff() == 100).all()), "what is kept stays in one piece"


def test_a_shift_longer_than_the_recording_leaves_silence() -> None:
    lengths = {int(changed(WAVE, seed, shift_ms=1000).count_nonzero()) for seed in range(50)}
    assert 0 in lengths and max(lengths) <= 100


def test_a_gain_is_within_its_range_and_clips() -> None:
    ratios = [float(changed(WAVE, seed, gain_db=6)[50] / (WAVE[50] / 32768)) for seed in range(200)]
    decibels = [20 * math.log10(ratio) for ratio in ratios]
    assert -6 <= min(decibels) < -5 and 5 < max(decibels) <= 6
    loud = torch.full((10,), 0.9)
    assert max(float(changed(loud, seed, gain_db=20).max()) for seed in range(20)) == 1.0


def test_noise_is_as_loud_as_said() -> None:
    wave = torch.full((20_000,), 0.1)
    noise = changed(wave, noise_db=20) - wave
    assert float(noise.square().mean().sqrt()) == pytest.approx(0.01, rel=0.03)  # 20 000 samples: 0.5 %, one sigma
    assert not changed(torch.zeros(100), noise_db=0).any()


def test_one_amount_leaves_the_draws_of_the_others() -> None:
    soft = changed(WAVE, 3, gain_db=6)
    noisy = changed(WAVE, 3, gain_db=6, noise_db=60)
    assert float((soft - noisy).abs().max()) < 1e-2 and not torch.equal(soft, noisy)


@pytest.mark.parametrize(
    ("amounts", "message"),
    [
        ({"shift_ms": -1.0}, r"The shift_ms of an audio augmentation must be in 0\.\.1000\. Got -1\.0"),
        ({"gain_db": 61.0}, r"gain_db .* in 0\.\.60\. Got 61"),
        ({"gain_db": float("nan")}, r"gain_db .* Got nan"),
        ({"noise_db": -30.0}, r"noise_db .* in -20\.\.100\. Got -30"),
    ],
)
def test_bad_amounts(amounts: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        AudioAugmentation(**amounts)
