"""Hinton's Forward-Forward, unsupervised and supervised: rules that make their own pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from scff_hw.core.pairs import Stream
from scff_hw.core.rules.scff import SCFF
from scff_hw.errors import UsageError


@dataclass(frozen=True)
class ForwardForward(SCFF):
    """Hinton's unsupervised Forward-Forward: a real image against a hybrid of two (paper, section 2.1, fig. 2a).

    The hybrid takes one image where a smooth random mask is set and another where it is not. The mask is white noise
    blurred with [1/4, 1/2, 1/4] in both directions and thresholded at one half (Hinton 2022, section 3.2).
    Layers standardise their input, whereas Hinton only normalises its length.
    """

    name: ClassVar[str] = "forward-forward"
    own_pairs: ClassVar[bool] = True

    @classmethod
    def pairs(cls, images: Tensor, labels: Tensor | None, classes: int, generator: torch.Generator) -> Stream:
        if images.dim() != 4:
            raise UsageError(
                "Rule 'forward-forward' needs images [N, C, H, W] to make hybrids. "
                f"Got shape {list(images.shape)} instead."
            )
        count, _, height, width = images.shape
        mask = blurred_masks(count, height, width, generator).to(images)
        shift = int(torch.randint(1, count, (1,), generator=generator))
        return Stream(images, mask * images + (1 - mask) * images.roll(-shift, 0))


@dataclass(frozen=True)
class LabelledForwardForward(SCFF):
    """Hinton's supervised Forward-Forward: the right label against a wrong one, written into the first pixels.

    The first `classes` values of a flattened sample become a one-hot label (Hinton 2022, section 3.3); at
    inference they all become 1 / classes, the neutral label.
    """

    name: ClassVar[str] = "forward-forward-supervised"
    needs_labels: ClassVar[bool] = True
    own_pairs: ClassVar[bool] = True

    @classmethod
    def pairs(cls, images: Tensor, labels: Tensor | None, classes: int, generator: torch.Generator) -> Stream:
        if labels is None:
            raise UsageError("Rule 'forward-forward-supervised' needs labels. Got an unlabelled data set instead.")
        offset = torch.randint(1, classes, labels.shape, generator=generator).to(labels)
        one_hot = torch.eye(classes, dtype=images.dtype, device=images.device)
        return Stream(embed_label(images, one_hot[labels]), embed_label(images, one_hot[(labels + offset) % classes]))

    @classmethod
    def plain(cls, images: Tensor, classes: int) -> Tensor:
        neutral = torch.full((len(images), classes), 1 / classes, dtype=images.dtype, device=images.device)
        return embed_label(images, neutral)


def blurred_masks(count: int, height: int, width: int, generator: torch.Generator, blurs: int = 6) -> Tensor:
    """Return random binary masks with large regions of ones and zeros, float32 `[count, 1, height, width]`."""
    noise = torch.rand(count, 1, height, width, generator=generator)
    for dim in (2, 3) * blurs:
        noise = noise.roll(1, dim) / 4 + noise / 2 + noise.roll(-1, dim) / 4
    return (noise > 0.5).float()


def embed_label(images: Tensor, code: Tensor) -> Tensor:
    """Return a copy of `images` with `code` `[N, classes]` in place of the first values of each flattened sample."""
    flat = images.flatten(1).clone()
    if flat.shape[1] <= code.shape[1]:
        raise UsageError(
            f"A label of {code.shape[1]} classes needs samples of more than {code.shape[1]} values. "
            f"Got {flat.shape[1]} instead."
        )
    flat[:, : code.shape[1]] = code
    return flat.view_as(images)
