"""Readout features: outputs of frozen layers for a part of the data, computed once and cached in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import psutil
import torch
from torch import Tensor

from scff_hw.core.network import Network
from scff_hw.core.pairs import Stream
from scff_hw.core.random import generator
from scff_hw.core.rules import Rule
from scff_hw.data import AudioAugmentation, Augmentation, Pipeline, SequencePipeline
from scff_hw.recipes.augmentation_section import AugmentationRecipe
from scff_hw.recipes.data_section import DataRecipe
from scff_hw.training.progress import Progress

CHUNK = 500
"""Batch size of inference, in samples."""

MEMORY_SHARE = 0.5
"""Largest share of the free memory for a cache; float16 is tried if float32 does not fit."""


AnyAugmentation = Augmentation | AudioAugmentation
"""Random augmentation of images, or of recordings."""


def augmentation_of(data: DataRecipe, recipe: AugmentationRecipe) -> AnyAugmentation:
    """Return the augmentation that a recipe's section describes, of images or recordings."""
    if data.has_sequences:
        return AudioAugmentation(recipe.shift_ms, recipe.gain_db, recipe.noise_db)
    return Augmentation(
        recipe.translate_px, recipe.crop_padding_px, recipe.flip, recipe.rotate_deg, recipe.stretch
    )


class PlainSamples:
    """Scaled samples of one part of a data set for inference, e.g. with a neutral label."""

    def __init__(self, pipeline: Pipeline | SequencePipeline, rule: type[Rule], classes: int) -> None:
        self.pipeline, self.rule, self.classes = pipeline, rule, classes

    def __len__(self) -> int:
        return len(self.pipeline)

    @property
    def labels(self) -> Tensor:
        """Labels, int64 `[N]`."""
        assert self.pipeline.labels is not None, "a readout needs labelled samples"
        return self.pipeline.labels

    def batch(
        self, indices: Tensor, augmentation: AnyAugmentation | None = None, generator: torch.Generator | None = None
    ) -> Stream:
        """Return the samples `indices` `[B, ...]`, float32, augmented if an augmentation is given."""
        drawn = drawn_from(self.pipeline, indices, augmentation, generator)
        return replace(drawn, positive=self.rule.plain(drawn.positive, self.classes))


def drawn_from(
    pipeline: Pipeline | SequencePipeline,
    indices: Tensor,
    augmentation: AnyAugmentation | None,
    generator: torch.Generator | None,
) -> Stream:
    """Return the samples `indices` of a pipeline, augmented, as the first layer's input stream."""
    if isinstance(pipeline, SequencePipeline):
        assert not isinstance(augmentation, Augmentation), "image augmentation does not apply to sequences"
        x, lengths = pipeline.batch(indices, augmentation, generator)
        return Stream(x, lengths=lengths)
    assert not isinstance(augmentation, AudioAugmentation), "audio augmentation does not apply to images"
    return Stream(pipeline.batch(indices, augmentation or Augmentation(), generator))


class FeatureSource(Protocol):
    """Features of one part of a data set, float32, in one or more versions per sample; version 0 is not augmented."""

    @property
    def version_count(self) -> int: ...

    @property
    def block_size(self) -> int:
        """Number of samples to request from `block` per call."""
        ...

    def batch(self, indices: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return features `[B, F]` of the samples `indices`; `generator` draws augmentation, None disables it."""
        ...

    def block(self, version: int, start: int, stop: int) -> Tensor:
        """Return features `[stop - start, F]` of consecutive samples in one version, equal at every call."""
        ...


class CachedFeatures:
    """Features of all samples, `[V, N, F]`: the plain version, then V - 1 augmented versions."""

    block_size = 4096

    def __init__(self, versions: Tensor) -> None:
        self.versions = versions

    @property
    def version_count(self) -> int:
        return len(self.versions)

    def batch(self, indices: Tensor, generator: torch.Generator | None) -> Tensor:
        if generator is None or len(self.versions) == 1:
            return self.versions[0].index_select(0, indices).float()
        drawn = torch.randint(len(self.versions), (len(indices),), generator=generator).to(indices.device)
        return self.versions[drawn, indices].float()

    def block(self, version: int, start: int, stop: int) -> Tensor:
        return self.versions[version, start:stop].float()


Version = Callable[[Tensor], Stream]
"""Maps sample indices to samples with a fixed augmentation; the same consecutive indices give the same samples."""


class LiveFeatures:
    """Features computed per batch, without a cache."""

    block_size = CHUNK

    def __init__(
        self,
        network: Network,
        layers: Sequence[int],
        samples: PlainSamples,
        augmentation: AnyAugmentation | None,
        versions: Sequence[Version],
    ) -> None:
        self.network, self.layers, self.samples, self.augmentation = network, layers, samples, augmentation
        self.versions = versions

    @property
    def version_count(self) -> int:
        return len(self.versions)

    def batch(self, indices: Tensor, generator: torch.Generator | None) -> Tensor:
        augmentation = None if generator is None else self.augmentation
        x = self.samples.batch(indices, augmentation, generator)
        return self.network.features(x, self.layers).float()

    def block(self, version: int, start: int, stop: int) -> Tensor:
        return self.network.features(self.versions[version](torch.arange(start, stop)), self.layers).float()


def feature_source(
    network: Network,
    layers: Sequence[int],
    samples: PlainSamples,
    augmentation: AnyAugmentation | None,
    progress: Progress,
    stage: str,
    *,
    copies: int = 0,
    seed: int = 0,
) -> FeatureSource:
    """Return the features of `layers` (0-based) for `samples`, cached if memory suffices.

    Without an augmentation there is the plain version only; flips alone give two versions. Any other augmentation is
    endless: `copies` drawn versions are cached with the plain one; with `copies` 0, features are computed per batch.
    """
    versions = plain_and_flipped(samples, augmentation)
    if augmentation is not None and augmentation.is_endless:
        versions = versions[:1] + [_copy(samples, augmentation, seed, copy) for copy in range(copies)]
        if not copies:
            return LiveFeatures(network, layers, samples, augmentation, versions)
    cached = cached_versions(samples, versions, lambda x: network.features(x, layers), progress, stage)
    return LiveFeatures(network, layers, samples, augmentation, versions) if cached is None else CachedFeatures(cached)


def _copy(samples: PlainSamples, augmentation: AnyAugmentation, seed: int, copy: int) -> Version:
    """Return the augmented version number `copy`; its draws follow from `seed`, `copy` and a block's first index."""

    def version(indices: Tensor) -> Stream:
        draw = generator(seed, "readout", "copy", copy, int(indices[0]))
        return samples.batch(indices, augmentation, draw)

    return version


def plain_and_flipped(samples: PlainSamples, augmentation: AnyAugmentation | None) -> list[Version]:
    """Return the plain version and, if the augmentation flips images, the mirrored version."""
    if isinstance(augmentation, Augmentation) and augmentation.flip:
        return [samples.batch, lambda indices: Stream(samples.batch(indices).positive.flip(-1))]
    return [samples.batch]


def cached_versions(
    samples: PlainSamples,
    versions: Sequence[Version],
    function: Callable[[Stream], Tensor],
    progress: Progress,
    stage: str,
) -> Tensor | None:
    """Return `function` of each sample and version, `[V, N, ...]`, float32 or float16; None if memory is too small."""
    example = function(versions[0](torch.arange(min(2, len(samples)))))[0]
    shape = (len(versions), len(samples), *example.shape)
    dtype = _dtype_that_fits(math.prod(shape), example.device)
    if dtype is None:
        return None
    cache = torch.empty(shape, dtype=dtype, device=example.device)
    progress.start(stage, len(samples) * len(versions))
    for index, version in enumerate(versions):
        for indices in torch.arange(len(samples)).split(CHUNK):
            cache[index, indices[0] : indices[-1] + 1] = function(version(indices))
            progress.advance(len(indices))
    progress.finish()
    return cache


def _dtype_that_fits(elements: int, device: torch.device) -> torch.dtype | None:
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    for dtype in (torch.float32, torch.float16):
        if elements * dtype.itemsize < MEMORY_SHARE * free:
            return dtype
    return None
