"""Features of the readout: what frozen layers make of a split, computed once and kept in memory.

A flipped sample is just a second set of features. Any other augmentation of the readout is endless, so
features are then computed as they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import psutil
import torch
from torch import Tensor

from scff_hw.core.network import Network
from scff_hw.core.rules import Rule
from scff_hw.data import Augmentation, Pipeline
from scff_hw.training.progress import Progress

CHUNK = 500
"""Samples that pass through the network at a time where nothing is learned."""

MEMORY_SHARE = 0.5
"""Of the memory now free, how much a cache may take; half as wide a format is tried before giving up."""


class PlainSamples:
    """One part of a data set as a network reads it where nothing is learned, e.g. with a neutral label."""

    def __init__(self, pipeline: Pipeline, rule: type[Rule], classes: int) -> None:
        self.pipeline, self.rule, self.classes = pipeline, rule, classes

    def __len__(self) -> int:
        return len(self.pipeline)

    @property
    def labels(self) -> Tensor:
        """int64 `[N]`."""
        assert self.pipeline.labels is not None, "a readout was asked to learn from unlabelled samples"
        return self.pipeline.labels

    def batch(self, indices: Tensor, augmentation: Augmentation, generator: torch.Generator | None = None) -> Tensor:
        """Samples `[B, ...]`, float32."""
        return self.rule.plain(self.pipeline.batch(indices, augmentation, generator), self.classes)


class FeatureSource(Protocol):
    """Batches of features, `[B, F]` float32."""

    def batch(self, indices: Tensor, generator: torch.Generator | None) -> Tensor:
        """Features of the samples `indices`; `generator` draws their augmentation, None for none."""
        ...


class CachedFeatures:
    """Features of a whole split, once as it is and once flipped where `flip`."""

    def __init__(self, variants: Sequence[Tensor]) -> None:
        self.variants = variants

    def batch(self, indices: Tensor, generator: torch.Generator | None) -> Tensor:
        plain = self.variants[0].index_select(0, indices).float()
        if generator is None or len(self.variants) == 1:
            return plain
        flipped = torch.rand(len(indices), generator=generator).to(plain.device) < 0.5
        return torch.where(flipped[:, None], self.variants[1].index_select(0, indices).float(), plain)


class LiveFeatures:
    """Features computed when asked for."""

    def __init__(
        self, network: Network, layers: Sequence[int], samples: PlainSamples, augmentation: Augmentation
    ) -> None:
        self.network, self.layers, self.samples, self.augmentation = network, layers, samples, augmentation

    def batch(self, indices: Tensor, generator: torch.Generator | None) -> Tensor:
        augmentation = Augmentation() if generator is None else self.augmentation
        x = self.samples.batch(indices, augmentation, generator)
        return self.network.features(x, self.layers).float()


def feature_source(
    network: Network,
    layers: Sequence[int],
    samples: PlainSamples,
    augmentation: Augmentation,
    progress: Progress,
    stage: str,
) -> FeatureSource:
    """Features of `layers` (0-based) over a split: cached where the augmentation and the memory allow."""
    endless = augmentation.translate_px or augmentation.crop_padding_px
    if endless:
        return LiveFeatures(network, layers, samples, augmentation)
    variants = cached_variants(samples, augmentation.flip, lambda x: network.features(x, layers), progress, stage)
    return LiveFeatures(network, layers, samples, augmentation) if variants is None else CachedFeatures(variants)


def cached_variants(
    samples: PlainSamples,
    flip: bool,
    function: Callable[[Tensor], Tensor],
    progress: Progress,
    stage: str,
) -> list[Tensor] | None:
    """`function` of every sample, `[N, ...]`, and, if `flip`, of every mirrored sample; None if memory is short."""
    device = samples.pipeline.device
    example = function(samples.batch(torch.arange(2), Augmentation()))[0]
    copies = 2 if flip else 1
    dtype = _dtype_that_fits(len(samples) * example.numel() * copies, device)
    if dtype is None:
        return None
    caches = [torch.empty(len(samples), *example.shape, dtype=dtype, device=device) for _ in range(copies)]
    progress.start(stage, len(samples) * copies)
    for mirrored, cache in enumerate(caches):
        for indices in torch.arange(len(samples)).split(CHUNK):
            x = samples.batch(indices, Augmentation())
            cache[indices[0] : indices[-1] + 1] = function(x.flip(-1) if mirrored else x)
            progress.advance(len(indices))
    progress.finish()
    return caches


def _dtype_that_fits(elements: int, device: torch.device) -> torch.dtype | None:
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    for dtype in (torch.float32, torch.float16):
        if elements * dtype.itemsize < MEMORY_SHARE * free:
            return dtype
    return None
