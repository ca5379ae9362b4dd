"""Sizes of a recipe's network for the cost model; no tensors are created."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from scff_hw.core.rules import rule_class
from scff_hw.errors import UsageError
from scff_hw.recipes import Recipe


@dataclass(frozen=True)
class LayerWork:
    """One hidden layer.

    Attributes:
        number: counted from 1.
        outputs: rows C of the weight matrix, `[C, F]`: units or channels.
        fan_in: columns F of the weight matrix: input features, or input channels times kernel area.
        positions: P, number of positions: 1, or height times width of the map.
        inputs: n, standardised values per sample, with padding.
        transmitted: m, values per sample transmitted to the next layer, after the pool.
        features: values per sample that the readout uses from this layer.
        rows: input vectors and outer products per sample in learning: 1 if both halves of a pair share one, 2
            with two streams or two views.
        learning_positions: positions with an outer product.
        learns: False for a layer that keeps its initial weights.
    """

    number: int
    outputs: int
    fan_in: int
    positions: int
    inputs: int
    transmitted: int
    features: int
    rows: int
    learning_positions: int
    learns: bool

    @property
    def weights(self) -> int:
        """Number of weights without biases."""
        return self.outputs * self.fan_in

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one matrix-vector product at every position: `C F P`."""
        return self.weights * self.positions

    @property
    def outer_macs(self) -> int:
        """Multiply-accumulates of one outer product, summed over the learning positions."""
        return self.weights * self.learning_positions


@dataclass(frozen=True)
class Workload:
    """A network: the readout, and the hidden layers up to the last one that the readout uses.

    Attributes:
        features: readout features per sample.
        classes: number of rows of the readout.
        batch_size: batch size of the recipe.
    """

    layers: tuple[LayerWork, ...]
    features: int
    classes: int
    batch_size: int

    def macs_before(self, layer: LayerWork) -> int:
        """Return the multiply-accumulates per sample from the network's input to `layer` while it learns."""
        return sum(previous.rows * previous.macs for previous in self.layers[: layer.number - 1])


def workload(recipe: Recipe) -> Workload:
    """Return the sizes of a recipe's network.

    A layer that makes its pairs needs one matrix-vector product and one outer product per sample, since
    `z_pos = 2 u_k` and `z_neg = u_k + u_n` (see `scff_hw.core.pairs`). A layer with a positive and a negative input
    stream needs two of each, and so does a first layer with two views.

    Raises:
        UsageError: the recipe's rule is unknown, or a layer is recurrent.
    """
    own_pairs = rule_class(recipe.training.rule.name).own_pairs
    last = max(recipe.readout.layers)
    layers = []
    for number, (layer, shapes) in enumerate(zip(recipe.layers[:last], recipe.shapes[:last], strict=True), start=1):
        if layer.kind == "dense":
            inputs = fan_in = prod(shapes.input)
        elif layer.kind == "recurrent":
            raise UsageError(
                f"Costs are modelled for dense and convolutional layers. Got a recurrent one, layer {number}, instead."
            )
        else:
            channels, height, width = shapes.input
            inputs = channels * (height + 2 * layer.padding) * (width + 2 * layer.padding)
            fan_in = channels * layer.kernel**2
        positions = prod(shapes.hidden[1:])
        two_views = number == 1 and recipe.augmentation.two_views
        chosen = recipe.training.update_positions
        layers.append(
            LayerWork(
                number=number,
                outputs=shapes.hidden[0],
                fan_in=fan_in,
                positions=positions,
                inputs=inputs,
                transmitted=prod(shapes.output),
                features=prod(shapes.features) if number in recipe.readout.layers else 0,
                rows=2 if own_pairs or layer.pairs == "passed" or two_views else 1,
                learning_positions=positions if chosen is None else min(chosen, positions),
                learns=layer.learn.epochs > 0,
            )
        )
    return Workload(tuple(layers), recipe.readout_features, recipe.data.classes, recipe.training.batch_size)
