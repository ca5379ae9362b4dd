"""Sections `augmentation` and `readout.augmentation` of a recipe."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from scff_hw.config.base import Model

Pixels = Annotated[int, Field(ge=0, le=1024)]


class AugmentationRecipe(Model):
    """Random changes of a sample, drawn anew at each use; none if all keys are zero, false or null."""

    translate_px: Pixels = Field(
        default=0, description="px; random integer shift of at most this size in both axes, zero fill"
    )
    crop_padding_px: Pixels = Field(
        default=0, description="px; zero padding before a random crop to the original size"
    )
    flip: bool = Field(default=False, description="horizontal flip with probability 1/2")
    rotate_deg: float = Field(
        default=0.0,
        ge=0,
        le=180,
        description="degree; random rotation of at most this angle in either direction, zero fill",
    )
    stretch: float = Field(
        default=0.0, ge=0, le=0.9, description="share; random stretch or shrinking of each axis by at most this share"
    )

    shift_ms: float = Field(
        default=0.0,
        ge=0,
        le=1000,
        description="ms; random shift of a recording in time, at most this long in either direction",
    )
    gain_db: float = Field(
        default=0.0, ge=0, le=60, description="dB; random gain of a recording, at most this large in either direction"
    )
    noise_db: float | None = Field(
        default=None,
        ge=-20,
        le=100,
        description="dB; level of added white noise below the recording's root mean square; null: none",
    )

    @property
    def changes_images(self) -> bool:
        """Whether an option for images is set."""
        return any((self.translate_px, self.crop_padding_px, self.flip, self.rotate_deg, self.stretch))

    @property
    def changes_recordings(self) -> bool:
        """Whether an option for recordings is set."""
        return bool(self.shift_ms or self.gain_db or self.noise_db is not None)


class LearningAugmentation(AugmentationRecipe):
    """Augmentation during training of the hidden layers."""

    two_views: bool = Field(
        default=False,
        description="the two halves of a positive pair are augmented independently (authors' MNIST code, not "
        "in the paper); false: one view, paired with itself",
    )
