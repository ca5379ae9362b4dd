"""Backpropagation on the same devices, for comparison: aihwkit's analog SGD on the same tiles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from scff_hw.backends import Backend, Geometry
from scff_hw.backends.analog import AnalogArray
from scff_hw.core.network import Network, feed_forward
from scff_hw.core.random import generator
from scff_hw.studies.lab import Lab
from scff_hw.training.features import augmentation_of
from scff_hw.training.readout import initial_readout

LEARNING_RATE = 0.1
"""Default learning rate of analog SGD, for tiles and for digital parameters."""


class AutogradTiles:
    """An array whose MVM uses aihwkit's autograd; the backward pass reads the tiles transposed."""

    learning_rate = 0.0

    def __init__(self, array: AnalogArray) -> None:
        self.array = array
        self.bias = array.bias.requires_grad_()

    @property
    def geometry(self) -> Geometry:
        return self.array.geometry

    @property
    def weight(self) -> Tensor:
        return self.array.weight

    def mvm(self, x: Tensor) -> Tensor:
        grid = self.array.grid
        parts = self.geometry.rows(x).split(grid.input_sizes, dim=1)
        outputs = []
        for line in grid.tiles:
            partial_sums = [tile(part.contiguous()) for tile, part in zip(line, parts, strict=True)]
            outputs.append(torch.stack(partial_sums).sum(dim=0) if len(partial_sums) > 1 else partial_sums[0])
        return self.geometry.fold(torch.cat(outputs, dim=1), x)

    def update(self, x: Tensor, error: Tensor, bias_error: Tensor) -> None:
        raise NotImplementedError("these tiles are updated by aihwkit's AnalogSGD")

    def weight_range(self) -> tuple[float, float]:
        return self.array.weight_range()

    def state(self) -> dict[str, Tensor]:
        return self.array.state()

    def load_state(self, state: dict[str, Tensor]) -> None:
        self.array.load_state(state)


def learn_backprop_on(
    lab: Lab, backend: Backend, learning_rate: float, after_step: Callable[[Network], None] | None = None
) -> Network:
    """Train the recipe's network end to end on `backend` with `AnalogSGD`, and return it.

    The number of epochs is the largest of the recipe's hidden layers; batches are the recipe's. The same optimiser
    trains a digital readout on top; the comparison uses a readout fitted afterwards, as for all methods.

    Args:
        backend: one that creates arrays of the analog backend.
        after_step: called with the network after each step of the optimiser.
    """
    from aihwkit.optim import AnalogSGD

    recipe, seed = lab.recipe, lab.seed
    network = lab.untrained(backend)
    depth = max(lab.layers) + 1
    layers = feed_forward(network)[:depth]
    tiles = [AutogradTiles(_analog(layer.array)) for layer in layers]
    trained = Network([replace(layer, array=tile) for layer, tile in zip(layers, tiles, strict=True)])
    output = [value.requires_grad_() for value in initial_readout(recipe.readout_features, lab.classes, seed)]
    digital = [*output, *(tile.bias for tile in tiles)]
    analog = [piece.analog_ctx for tile in tiles for piece in tile.array.grid]
    # A new tile has a rate of 0.1; step() replaces it by the rate of its group, which this constructor sets.
    optimiser = AnalogSGD([*digital, *analog], lr=learning_rate)
    optimiser.regroup_param_groups()
    samples, augmentation = lab.samples("train"), augmentation_of(recipe.data, recipe.augmentation)
    epochs = max(layer.learn.epochs for layer in recipe.layers)
    with torch.enable_grad():
        for epoch in range(epochs):
            draw = generator(seed, "analog backprop", epoch)
            for indices in samples.pipeline.order(draw).split(recipe.training.batch_size):
                x = trained.features(samples.batch(indices, augmentation, draw), lab.layers)
                optimiser.zero_grad()
                F.cross_entropy(F.linear(x, *output), samples.labels[indices]).backward()
                optimiser.step()
                if after_step is not None:
                    after_step(network)
    for tile in tiles:
        tile.bias.requires_grad_(False)
    return network


def _analog(array: object) -> AnalogArray:
    assert isinstance(array, AnalogArray), "backpropagation on devices needs the analog backend"
    return array
