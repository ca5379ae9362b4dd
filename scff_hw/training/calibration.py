"""The fixed backend for a recipe: formats chosen from a few unlabelled batches of its data."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import torch

from scff_hw.backends.float import FloatBackend
from scff_hw.core.random import generator
from scff_hw.documents import SCHEMA, FormatsDocument, parse_document
from scff_hw.errors import CheckpointError
from scff_hw.recipes import Recipe
from scff_hw.training.build import Weights, build_network, frozen, geometries
from scff_hw.training.features import PlainSamples

if TYPE_CHECKING:
    from scff_hw.backends.fixed import Calibration, FixedBackend


def calibrated_backend(
    recipe: Recipe, weights: Weights, samples: PlainSamples, seed: int, *, learning: bool = True
) -> tuple[FixedBackend, Calibration]:
    """The fixed backend whose formats fit `weights` and the data.

    Args:
        samples: of the split that hidden layers learn from.
        learning: False for weights that stay as they are (post-training quantisation): they fill their range.

    Raises:
        UsageError: a sum could overflow its accumulator; names the layer and the bits that would do.
    """
    from scff_hw.backends.fixed import FixedBackend, calibrate

    options, training = recipe.fixed_point, recipe.training
    network = build_network(frozen(recipe), FloatBackend(), weights)
    order = torch.randperm(len(samples), generator=generator(seed, "calibration"))
    batches = samples.batch(order[: options.calibration_batches * training.batch_size])
    batch = min(training.batch_size, len(samples))
    views = 2 if recipe.augmentation.two_views else 1
    with torch.no_grad():
        found = calibrate(network, batches, options, learning=learning, batch=batch, views=views)
    return FixedBackend(options, found.formats, seed), found


def dump_formats(calibration: Calibration) -> str:
    """Formats and what they were chosen from, as JSON that `load_formats` reads."""
    layers = {name: form.to_json() for name, form in calibration.formats.items()}
    ranges = [each.to_json() for each in calibration.ranges]
    return json.dumps({"schema": SCHEMA, "layers": layers, "ranges": ranges}, indent=2) + "\n"


def load_formats(text: str, recipe: Recipe, seed: int, where: str) -> FixedBackend:
    """The fixed backend of a run, from what `dump_formats` wrote.

    Raises:
        CheckpointError: not such a document, or one of another network's layers.
    """
    from scff_hw.backends.fixed import FixedBackend, LayerFormats

    layers = parse_document(text, FormatsDocument, where).layers
    names = list(layers)
    formats = {name: LayerFormats.from_json(layers[name], f"Layer {name} of {where}") for name in names}
    outputs = {name: each.outputs for name, each in geometries(recipe).items()}
    if formats.keys() != outputs.keys():
        wanted = ", ".join(outputs)
        raise CheckpointError(
            f"The file {where} must hold the formats of {wanted}. Got those of {', '.join(names) or 'none'} instead."
        )
    for name, form in formats.items():
        if len(form.weight.fracs) not in (1, outputs[name]) or len(form.held.fracs) != len(form.weight.fracs):
            raise CheckpointError(
                f"Layer {name} of {where} must have 1 scale of weights, or one for each of {outputs[name]} channels. "
                f"Got {len(form.weight.fracs)} instead."
            )
    return FixedBackend(recipe.fixed_point, formats, seed)
