"""Random shifts, gains and noise of one recording."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from scff_hw.errors import UsageError


@dataclass(frozen=True)
class AudioAugmentation:
    """What is done to a recording; the default does nothing.

    shift_ms: moved in time by up to this much either way; what moves in is silent, what moves out is lost.
    gain_db: made louder or softer by up to this much; what then exceeds full scale is clipped.
    noise_db: white noise added, this far below the recording's root mean square, or None; silence stays silent.

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
        """Whether recordings pass unchanged."""
        return self == AudioAugmentation()

    @property
    def is_endless(self) -> bool:
        """Whether there is more than one version of a recording."""
        return not self.is_identity

    def __call__(self, waveform: torch.Tensor, rate_hz: int, generator: torch.Generator) -> torch.Tensor:
        """Return a changed recording of the same length, float32 `[samples]` in -1..1.

        `waveform` is `[samples]`, int16, or floating point in -1..1. The numbers are drawn from `generator`, on the
        CPU: as many whatever the amounts are, so that one amount changes nothing of the others.
        """
        sound = waveform.float() / 32768 if waveform.dtype == torch.int16 else waveform.float()
        moved, louder = (torch.rand(2, generator=generator) * 2 - 1).tolist()
        noise = torch.randn(len(sound), generator=generator)
        sound = _moved(sound, round(moved * self.shift_ms * rate_hz / 1000))
        if self.noise_db is not None:
            spread = sound.square().mean().sqrt() * 10 ** (-self.noise_db / 20)
            sound = sound + spread * noise
        return (sound * math.pow(10, louder * self.gain_db / 20)).clamp(-1, 1)


def _moved(sound: torch.Tensor, samples: int) -> torch.Tensor:
    samples = max(-len(sound), min(len(sound), samples))
    silence = sound.new_zeros(abs(samples))
    kept = len(sound) - abs(samples)
    return torch.cat((silence, sound[:kept])) if samples > 0 else torch.cat((sound[-samples:], silence))
