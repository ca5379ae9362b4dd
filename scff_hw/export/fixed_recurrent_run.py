"""The integers of a finished fixed-point run of one recurrent layer with one direction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from scff_hw.backends.fixed.reference.layer import logits, quantise
from scff_hw.backends.fixed.reference.recurrent import IntegerDirection, IntegerRecurrent
from scff_hw.backends.fixed.tensor.recurrent import FixedRecurrentLayer
from scff_hw.export.fixed_run import Ints, fixed_part, quantised_readout, reference_layer, require_fixed
from scff_hw.recipes import Recipe
from scff_hw.training.finished import FinishedRun


@dataclass(frozen=True)
class RecurrentRun:
    """A recurrent layer and its readout in integers, with their run.

    Attributes:
        rate_shift: the learning rate is `2^-rate_shift`.
        readout_weight, readout_bias: `[classes, features]` in 8 bits, `[classes]` in 32.
        readout_frac: fraction bits of the readout's weights.
    """

    run: FinishedRun
    layer: IntegerRecurrent
    rate_shift: int
    readout_weight: Ints
    readout_bias: Ints
    readout_frac: int

    @classmethod
    def of(cls, run: FinishedRun) -> RecurrentRun:
        """Return the integers of a run on the fixed backend whose recipe `has_one_direction`.

        Raises:
            CheckpointError: the run's files do not belong together.
            UsageError: a run on another backend.
        """
        require_fixed(run)
        assert has_one_direction(run.recipe), "a run of other layers was read as a recurrent one"
        layer: Any = fixed_part(run).network.layers[0]
        assert isinstance(layer, FixedRecurrentLayer), "a run of the fixed backend was built of other layers"
        readout = quantised_readout(run, layer.formats.feature.frac_bits)
        return cls(run, integer_recurrent(layer), layer.arrays["forwards.inputs"].rate_shift, *readout)

    @property
    def recipe(self) -> Recipe:
        return self.run.recipe

    @property
    def seed(self) -> int:
        return self.run.seed

    @property
    def direction(self) -> IntegerDirection:
        return self.layer.directions[0]

    def sequences(self, part: str, numbers: Sequence[int]) -> list[Ints]:
        """Return the sequences of a part of the run's data with these numbers, in the input's format, `[T, F]` each."""
        stream = self.run.samples(part).batch(torch.tensor(numbers))
        assert stream.lengths is not None, "sequences were read as samples of one shape"
        x = quantise(stream.positive.numpy().astype(np.float64), self.direction.inputs.spec.formats.input)
        return [sequence[:length] for sequence, length in zip(x, stream.lengths.tolist(), strict=True)]

    def logits(self, sequences: Sequence[Ints]) -> Ints:
        """Return the logits `[N, classes]` of whole sequences."""
        return logits(self.layer.features(self.layer.forward(sequences)), self.readout_weight, self.readout_bias)


def integer_recurrent(layer: FixedRecurrentLayer) -> IntegerRecurrent:
    """Return a recurrent layer as one of the integer reference, bit for bit."""
    arrays = {name: reference_layer(array, layer.spec(array)) for name, array in layer.arrays.items()}
    directions = []
    for direction in layer.directions:
        inputs, hidden = (arrays[name] for name in direction.arrays)
        directions.append(IntegerDirection(inputs, hidden, direction.backwards))
    return IntegerRecurrent(directions, layer.averages)


def has_one_direction(recipe: Recipe) -> bool:
    """Whether a recipe's network is one recurrent layer that can take one step at a time."""
    return len(recipe.layers) == 1 and getattr(recipe.layers[0], "directions", 0) == 1
