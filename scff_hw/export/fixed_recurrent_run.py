"""A finished run of a recurrent layer of one direction as plain integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scff_hw.backends.fixed.reference.layer import logits, quantise
from scff_hw.backends.fixed.reference.recurrent import IntegerDirection, IntegerRecurrent
from scff_hw.backends.fixed.tensor.recurrent import FixedRecurrentLayer
from scff_hw.errors import CheckpointError, UsageError
from scff_hw.export.fixed_run import Ints, held_by, opened, quantised_readout
from scff_hw.recipes import Recipe
from scff_hw.training.build import build_network
from scff_hw.training.calibration import load_formats
from scff_hw.training.run_context import AnyDataset, plain_samples, run_dataset
from scff_hw.training.run_folder import CHECKPOINT, FORMATS, WEIGHTS, Checkpoint, Position, RunFolder


@dataclass(frozen=True)
class RecurrentRun:
    """A recurrent layer and its readout in integers, and where they came from.

    Attributes:
        rate_shift: the learning rate is `2^-rate_shift`.
        readout_weight, readout_bias: `[classes, features]` in 8 bits, `[classes]` in 32.
        readout_frac: fraction bits of the readout's weights.
        folder: of the run.
    """

    recipe: Recipe
    seed: int
    layer: IntegerRecurrent
    rate_shift: int
    readout_weight: Ints
    readout_bias: Ints
    readout_frac: int
    folder: RunFolder

    @property
    def direction(self) -> IntegerDirection:
        return self.layer.directions[0]

    def dataset(self, data_dir: Path | None = None) -> AnyDataset:
        """The run's data set.

        Raises:
            DataError: it is not there, damaged, or another.
        """
        return run_dataset(self.folder, self.recipe, data_dir)

    def sequences(self, part: str, numbers: Sequence[int], dataset: AnyDataset) -> list[Ints]:
        """Sequences of a part of the run's data by their numbers, in the input's format, `[T, F]` each."""
        stream = plain_samples(self.recipe, dataset, part).batch(torch.tensor(numbers))
        assert stream.lengths is not None, "sequences were read as samples of one shape"
        x = quantise(stream.positive.numpy().astype(np.float64), self.direction.inputs.spec.formats.input)
        return [each[:length] for each, length in zip(x, stream.lengths.tolist(), strict=True)]

    def logits(self, sequences: Sequence[Ints]) -> Ints:
        """Of whole sequences, `[N, classes]`."""
        return logits(self.layer.features(self.layer.forward(sequences)), self.readout_weight, self.readout_bias)


def integer_recurrent(layer: FixedRecurrentLayer) -> IntegerRecurrent:
    """A recurrent layer as the reference has it, bit for bit."""
    held = {name: held_by(array, layer.spec(array)) for name, array in layer.arrays.items()}
    directions = []
    for direction in layer.directions:
        inputs, hidden = (held[name] for name in direction.arrays)
        directions.append(IntegerDirection(inputs, hidden, direction.backwards))
    return IntegerRecurrent(directions, layer.averages)


def has_one_direction(recipe: Recipe) -> bool:
    """Whether a recipe's network is one recurrent layer that can take one step at a time."""
    return len(recipe.layers) == 1 and getattr(recipe.layers[0], "directions", 0) == 1


def read_recurrent(run: Path) -> RecurrentRun:
    """A finished run of a recurrent layer of one direction on the fixed backend.

    Raises:
        CheckpointError: not a run, not finished, or its files do not belong together.
        UsageError: a run on another backend.
    """
    folder, recipe, seed = opened(run)
    assert has_one_direction(recipe), "a run of other layers was read as a recurrent one"
    hardware = load_formats(folder.read_text(FORMATS), recipe, seed, str(run / FORMATS))
    weights = folder.tensors(WEIGHTS)
    checkpoint = Checkpoint(Position("done"), folder.tensors(CHECKPOINT))
    try:
        layer: Any = build_network(recipe, hardware, weights).layers[0]
        assert isinstance(layer, FixedRecurrentLayer), "a run of the fixed backend was built of other layers"
        for name, array in layer.arrays.items():
            array.load_state(checkpoint.group(f"layers.1.{name}"))
        weight, bias = weights["readout.weight"], weights["readout.bias"]
    except (KeyError, RuntimeError, UsageError) as error:
        raise CheckpointError(f"The weights in {run} are not those of the recipe beside them ({error}).") from None
    return RecurrentRun(
        recipe,
        seed,
        integer_recurrent(layer),
        layer.arrays["forwards.inputs"].rate_shift,
        *quantised_readout(weight, bias, layer.formats.feature.one),
        folder,
    )
