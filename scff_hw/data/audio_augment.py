"""Random shift, gain and noise of one recording."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from scff_hw.errors import UsageError


@dataclass(frozen=True)
class AudioAugmentation:
    """Augmentation of a recording; the default is none.

    shift_ms: largest shift in time, in either direction; zeros are shifted in.
    gain_db: largest gain or attenuation; samples beyond full scale are clipped.
    noise_db: level of added white noise below the recording's root mean square, or None; silence is unchanged.

    Raises UsageError for a shift not in 0..1000, a gain not in 0..60 or a noise not in -20..100.
    """

    shift_ms: float = 0.0
    gain_db: float = 0.0
    noise_db: float | None = None

    def __post_init__(self) -> None:
        for name, least, most in (("shift_ms", 0, 1000), ("gain_db", 0, 60), ("noise_db", -20, 100)):
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise UsageError(
                    f"The {name} of an audio augmentation must be in {least}..{most}. Got {value} instead."
                )

    @property
    def is_identity(self) -> bool:
        """Whether recordings are unchanged."""
        return self == AudioAugmentation()

    @property
    def is_endless(self) -> bool:
        """Whether a recording has more than one augmented version."""
        return not self.is_identity

    def __call__(self, waveform: torch.Tensor, rate_hz: int, generator: torch.Generator) -> torch.Tensor:
        """Return the augmented recording, same length, float32 `[samples]` in -1..1.

        `waveform` is `[samples]`, int16, or floating point in -1..1. Random numbers are drawn from `generator` on the
        CPU. The number of draws does not depend on the parameters, so a changed parameter leaves other draws unchanged.
        """
        sound = waveform.float() / 32768 if waveform.dtype == torch.int16 else waveform.float()
        shift, gain = (torch.rand(2, generator=generator) * 2 - 1).tolist()
        noise = torch.randn(len(sound), generator=generator)
        sound = _shifted(sound, round(shift * self.shift_ms * rate_hz / 1000))
        if self.noise_db is not None:
            sigma = sound.square().mean().sqrt() * 10 ** (-self.noise_db / 20)
            sound = sound + sigma * noise
        return (sound * math.pow(10, gain * self.gain_db / 20)).clamp(-1, 1)


def _shifted(sound: torch.Tensor, samples: int) -> torch.Tensor:
    samples = max(-len(sound), min(len(sound), samples))
    silence = sound.new_zeros(abs(samples))
    length = len(sound) - abs(samples)
    return torch.cat((silence, sound[:length])) if samples > 0 else torch.cat((sound[-samples:], silence))
