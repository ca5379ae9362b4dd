"""Calibration data for `Backend.prepare`, and the fixed backend of a recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from scff_hw.backends import FloatBackend, Trial
from scff_hw.core.random import generator
from scff_hw.recipes import Recipe
from scff_hw.training.build import Weights, build_network, frozen, geometries
from scff_hw.training.features import PlainSamples

if TYPE_CHECKING:
    from scff_hw.backends.fixed import FixedBackend


def trial_of(recipe: Recipe, weights: Weights, samples: PlainSamples, seed: int, *, learning: bool = True) -> Trial:
    """Return the `Trial` that `Backend.prepare` may read: network and samples.

    Args:
        weights: initial weights of the run.
        samples: the split that hidden layers learn from.
        learning: False if the weights never change.
    """
    order = torch.randperm(len(samples), generator=generator(seed, "calibration"))
    return Trial(
        network=lambda: build_network(frozen(recipe), FloatBackend(), weights),
        samples=lambda count: samples.batch(order[:count]),
        batch=min(recipe.training.batch_size, len(samples)),
        views=2 if recipe.augmentation.two_views else 1,
        learning=learning,
    )


def calibrated_backend(
    recipe: Recipe, weights: Weights, samples: PlainSamples, seed: int, *, learning: bool = True
) -> FixedBackend:
    """Return the fixed backend with number formats for `weights` and `samples`.

    See `trial_of` for the arguments and `FixedBackend.prepare` for the choice of formats.
    """
    from scff_hw.backends.fixed import FixedBackend

    trial = trial_of(recipe, weights, samples, seed, learning=learning)
    return FixedBackend(recipe.fixed_point, seed=seed).prepare(trial)


def load_formats(text: str, recipe: Recipe, seed: int, where: str) -> FixedBackend:
    """Make the fixed backend of a run from `text`, the content of its formats.json at `where`.

    Raises:
        CheckpointError: `text` is not a formats document, or does not match the layers of `recipe`.
    """
    from scff_hw.backends.fixed import FixedBackend
    from scff_hw.backends.fixed.formats.document import parse_formats

    outputs = {name: geometry.outputs for name, geometry in geometries(recipe).items()}
    return FixedBackend(recipe.fixed_point, parse_formats(text, outputs, where), seed)
