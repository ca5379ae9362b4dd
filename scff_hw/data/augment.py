"""Random rotations, stretches, translations, crops and flips of a batch of images, without a loop over samples."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F

from scff_hw.errors import UsageError


@dataclass(frozen=True)
class Augmentation:
    """Augmentation of a batch of images, drawn per image; the default is none.

    translate_px: translation by -t..t pixels in both axes, zero fill.
    crop_padding_px: zero padding on all sides, then a random crop to the original size.
    flip: horizontal mirror image with probability 1/2.
    rotate_deg: rotation about the centre by an angle of -r..r degrees.
    stretch: scaling of each axis by its own factor in 1-s..1+s, about the centre.

    Rotation and stretch are one bilinear resampling, with zero fill, before the other augmentations.

    Raises UsageError for a negative number of pixels, an angle not in 0..180, a stretch not in 0..0.9.
    """

    translate_px: int = 0
    crop_padding_px: int = 0
    flip: bool = False
    rotate_deg: float = 0.0
    stretch: float = 0.0

    def __post_init__(self) -> None:
        for name, most in (("rotate_deg", 180), ("stretch", 0.9)):
            if not 0 <= getattr(self, name) <= most:
                raise UsageError(f"The augmentation's {name} must be in 0..{most}; got {getattr(self, name)!r}.")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("_px") and (not isinstance(value, int) or value < 0):
                raise UsageError(
                    f"The augmentation's {field.name} must be a whole number from 0 up; got {value!r}."
                )

    @property
    def is_identity(self) -> bool:
        """Whether images are unchanged."""
        return self == Augmentation()

    @property
    def is_endless(self) -> bool:
        """Whether an image has more versions than itself and its mirror image."""
        return self != Augmentation(flip=self.flip)

    def __call__(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return the augmented images, same shape and dtype as `images` [N, C, H, W], of any dtype.

        Random numbers are drawn on the generator's device, so the result does not depend on the device of `images`.
        Raises UsageError if `images` is not a batch of images, or a translation can exceed the image size.
        """
        if self.is_identity:
            return images
        if images.ndim != 4:
            raise UsageError(
                f"Augmentation needs images [N, C, H, W]; got a tensor of shape {list(images.shape)}."
            )
        if self.rotate_deg or self.stretch:
            images = _warp(images, self.rotate_deg, self.stretch, generator)
        # A crop from zero padding is also a translation.
        for name in ("translate_px", "crop_padding_px"):
            reach = getattr(self, name)
            if reach >= min(images.shape[2:]):
                side = " x ".join(map(str, images.shape[2:]))
                raise UsageError(
                    f"The augmentation's {name} must be smaller than the image of {side} pixels; got {reach}."
                )
            if reach:
                images = _translate(images, reach, generator)
        return _flip(images, generator) if self.flip else images


def _draw(
    high: int, shape: tuple[int, ...], generator: torch.Generator, device: torch.device
) -> torch.Tensor:
    return torch.randint(high, shape, generator=generator, device=generator.device).to(device)


def _translate(images: torch.Tensor, reach: int, generator: torch.Generator) -> torch.Tensor:
    """Pad each image by `reach` zeros, then copy a window of the original size from a random corner in 0..2 reach.

    Every row of every possible window is a row in one overlapping view of the padded memory, so the whole batch is one
    selection of contiguous rows.
    """
    count, channels, height, width = images.shape
    if count == 0:
        return images
    top, left = _draw(2 * reach + 1, (2, count, 1, 1), generator, images.device)
    padded = F.pad(images, (reach, reach, reach, reach)).flatten()
    row_stride = width + 2 * reach
    plane_stride = row_stride * (height + 2 * reach)
    device = images.device
    sample = torch.arange(count, device=device)[:, None, None] * (channels * plane_stride)
    channel = torch.arange(channels, device=device)[:, None] * plane_stride
    row = torch.arange(height, device=device) * row_stride
    starts = sample + channel + row + top * row_stride + left
    windows = padded.as_strided((padded.numel() - width + 1, width), (1, 1))
    return windows.index_select(0, starts.flatten()).view(images.shape)


def _warp(images: torch.Tensor, rotate_deg: float, stretch: float, generator: torch.Generator) -> torch.Tensor:
    count, _, height, width = images.shape
    if count == 0:
        return images
    drawn = torch.rand((3, count), generator=generator, device=generator.device).to(images.device) * 2 - 1
    angle = drawn[0] * math.radians(rotate_deg)
    cos, sin = angle.cos(), angle.sin()
    down, across = 1 / (1 + drawn[1:] * stretch)
    # Grid coordinates are -1 to 1 along both sides, so the rotation of a non-square image needs their ratio.
    rows = (across * cos, -across * sin * (height / width)), (down * sin * (width / height), down * cos)
    linear = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)
    grid = F.affine_grid(F.pad(linear, (0, 1)), list(images.shape), align_corners=False)
    warped = F.grid_sample(images.to(torch.float32), grid, align_corners=False)
    return (warped if images.is_floating_point() else warped.round_()).to(images.dtype)


def _flip(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    count = images.shape[0]
    mirrored = _draw(2, (count,), generator, images.device)
    both = torch.cat([images, images.flip(-1)])
    return both.index_select(0, torch.arange(count, device=images.device) + count * mirrored)
