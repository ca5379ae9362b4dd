"""A recipe's network as the sizes that decide what it costs on a chip: no tensor is made."""

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
        outputs: rows C of its weight matrix, `[C, F]`: units, or channels.
        fan_in: columns F of its weight matrix: input features, or input channels times kernel area.
        positions: P, where each row is evaluated: 1, or height times width of the map.
        inputs: n, standardised values a sample, padding included.
        transmitted: m, values per sample transmitted to the next layer, after the pool.
        features: values a sample that the readout reads of this layer.
        rows: input vectors read, and outer products made, for one sample while it learns: 1 where both halves of a
            pair share one (the sample's), 2 where two streams or two views lie side by side.
        learning_positions: positions whose outer products are made.
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
        """Number of weights, biases left out."""
        return self.outputs * self.fan_in

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one matrix-vector product at every position: `C F P`."""
        return self.weights * self.positions

    @property
    def outer_macs(self) -> int:
        """Multiply-accumulates of one outer product, summed over the positions it learns from."""
        return self.weights * self.learning_positions


@dataclass(frozen=True)
class Workload:
    """A network: its hidden layers up to the last one the readout reads, and the readout.

    Attributes:
        features: values a sample that the readout reads.
        classes: rows of the readout.
        batch_size: samples of a batch, of the recipe.
    """

    layers: tuple[LayerWork, ...]
    features: int
    classes: int
    batch_size: int

    def macs_before(self, layer: LayerWork) -> int:
        """Multiply-accumulates that bring one sample from the network's input to `layer` while that one learns."""
        return sum(below.rows * below.macs for below in self.layers[: layer.number - 1])


def workload(recipe: Recipe) -> Workload:
    """The sizes of a recipe's network.

    A layer that makes its pairs needs one matrix-vector product and one outer product a sample, since
    `z_pos = 2 u_k` and `z_neg = u_k + u_n` (see `scff_hw.core.streams`). A layer that takes a positive and a negative
    stream needs two of each, and so does the first layer where it sees two views.

    Raises:
        UsageError: the recipe's rule is not known, or a layer is recurrent.
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
