"""A finished run in fixed point as plain integers: what every exporter of it starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scff_hw.backends.fixed.formats.formats import BIAS_GUARD_BITS, QFormat, fraction_bits
from scff_hw.backends.fixed.reference.arithmetic import saturate
from scff_hw.backends.fixed.reference.layer import IntegerLayer, LayerSpec, logits, quantise
from scff_hw.backends.fixed.reference.readout import BIAS_BITS, IntegerReadout
from scff_hw.backends.fixed.tensor.array import FixedArray
from scff_hw.backends.fixed.tensor.layer import FixedLayer
from scff_hw.data import Dataset
from scff_hw.errors import CheckpointError, UsageError
from scff_hw.recipes import Recipe, load_recipe
from scff_hw.training.build import build_network
from scff_hw.training.calibration import load_formats
from scff_hw.training.run_context import plain_samples, run_dataset
from scff_hw.training.run_folder import CHECKPOINT, FORMATS, RECIPE, WEIGHTS, Checkpoint, Position, RunFolder

READOUT_BITS = 8
LEARNING_FRAC = 7
"""Most fraction bits of the weights of a readout that learns: weights of logistic units reach 1."""

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class IntegerRun:
    """A network in integers, and where it came from.

    Attributes:
        shapes: of each layer's input, (channels, height, width) or (inputs,).
        rate_shifts: of each layer; learning rates are `2^-shift`.
        readout_weight, readout_bias: `[classes, features]` in 8 bits, `[classes]` in 32.
        readout_frac: fraction bits of the readout's weights.
        reads: layers the readout reads, from 0.
        folder: of the run.
    """

    recipe: Recipe
    seed: int
    layers: tuple[IntegerLayer, ...]
    shapes: tuple[tuple[int, ...], ...]
    rate_shifts: tuple[int, ...]
    readout_weight: Ints
    readout_bias: Ints
    readout_frac: int
    reads: tuple[int, ...]
    folder: RunFolder

    @property
    def classes(self) -> int:
        return len(self.readout_weight)

    def dataset(self, data_dir: Path | None = None) -> Dataset:
        """The run's data set.

        Raises:
            DataError: it is not there, damaged, or another.
        """
        found = run_dataset(self.folder, self.recipe, data_dir)
        assert isinstance(found, Dataset), "a run on sequences was read as one on images"
        return found

    def samples(self, part: str, count: int, dataset: Dataset) -> Ints:
        """The first `count` samples of a part of the run's data, in the input's format, `[count, ...]`."""
        found = plain_samples(self.recipe, dataset, part)
        x = found.batch(torch.arange(min(count, len(found)))).positive.numpy().astype(np.float64)
        return self.shaped(0, quantise(x, self.layers[0].spec.formats.input))

    def shaped(self, index: int, x: Ints) -> Ints:
        """Samples as layer `index` takes them."""
        return x.reshape(len(x), *(self.shapes[index] if self.layers[index].spec.kernel else (-1,)))

    @property
    def feature_frac(self) -> int:
        """Fraction bits of features."""
        return self.layers[0].spec.formats.feature.one

    @property
    def learning_frac(self) -> int:
        """Fraction bits of the readout's weights where it learns: fewer, so that weights have room to grow."""
        return max(self.readout_frac - BIAS_GUARD_BITS, min(self.readout_frac - 1, LEARNING_FRAC))

    def features(self, x: Ints, layers: Sequence[IntegerLayer] | None = None) -> Ints:
        """What the readout reads of samples `[N, ...]`, `[N, features]`; of other layers' weights where given."""
        found = []
        for index, layer in enumerate(layers or self.layers):
            x = layer.forward(self.shaped(index, x))
            if index in self.reads:
                found.append(layer.features(x))
        return np.concatenate(found, axis=1)

    def logits(self, x: Ints) -> Ints:
        """Of samples `[N, ...]`, `[N, classes]`."""
        return logits(self.features(x), self.readout_weight, self.readout_bias)

    def readout(self) -> IntegerReadout:
        """The run's readout as one that goes on learning."""
        shift = BIAS_GUARD_BITS - (self.readout_frac - self.learning_frac)
        return IntegerReadout(
            self.readout_weight << shift,
            saturate(self.readout_bias << shift, BIAS_BITS),
            QFormat(READOUT_BITS, self.learning_frac),
            self.feature_frac,
            self.layers[0].spec.formats.rounding,
        )


def read_run(run: Path) -> IntegerRun:
    """A finished run of the fixed backend.

    Raises:
        CheckpointError: not a run, not finished, or its files do not belong together.
        UsageError: a run on another backend.
    """
    folder, recipe, seed = opened(run)
    if recipe.data.has_sequences:
        raise UsageError(
            f"C is exported of feed-forward layers. Got the recurrent layer of {run} instead. A recurrent layer must "
            "be alone and have one direction: train it with --set layers.1.directions=1."
        )
    hardware = load_formats(folder.read_text(FORMATS), recipe, seed, str(run / FORMATS))
    weights = folder.tensors(WEIGHTS)
    checkpoint = Checkpoint(Position("done"), folder.tensors(CHECKPOINT))
    try:
        network = build_network(recipe, hardware, weights)
        layers, rates = [], []
        built: Sequence[Any] = network.layers
        for number, layer in enumerate(built, start=1):
            assert isinstance(layer, FixedLayer), "a run of the fixed backend was built of other layers"
            array = layer.array
            state = checkpoint.group(f"layers.{number}")
            # a device learns from every position: drawing some of them is a matter of speed where there are caches
            array.load_state(state)
            layers.append(held_by(array, replace(layer.spec, positions=None)))
            rates.append(array.rate_shift)
        weight, bias = weights["readout.weight"], weights["readout.bias"]
    except (KeyError, RuntimeError, UsageError) as error:
        raise CheckpointError(f"The weights in {run} are not those of the recipe beside them ({error}).") from None
    readout_weight, readout_bias, readout_frac = quantised_readout(weight, bias, layers[0].spec.formats.feature.one)
    return IntegerRun(
        recipe,
        seed,
        tuple(layers),
        tuple(shapes.input for shapes in recipe.shapes),
        tuple(rates),
        readout_weight,
        readout_bias,
        readout_frac,
        tuple(number - 1 for number in recipe.readout.layers),
        folder,
    )


def opened(run: Path) -> tuple[RunFolder, Recipe, int]:
    """The folder, recipe and seed of a finished run of the fixed backend; errors as in `read_run`."""
    folder = RunFolder(run)
    details = folder.details()
    if details.backend != "fixed":
        raise UsageError(
            "The run to export must be on the fixed backend, whose numbers are integers. "
            f"Got {run} on '{details.backend}' instead; train it with --backend fixed."
        )
    return folder, load_recipe(run / RECIPE), folder.finished("exported").seed


def held_by(array: FixedArray, spec: LayerSpec) -> IntegerLayer:
    """An array as the reference has it, bit for bit."""
    state = array.state()
    held = IntegerLayer(array.weight.numpy(), array.bias.numpy(), spec)
    held.held = state["held"].flatten(1).to(torch.int64).numpy()
    held.bias = state["bias"].to(torch.int64).numpy()
    held.states = state["states"].to(torch.int64).numpy().astype(np.uint32)
    return held


def quantised_readout(weight: torch.Tensor, bias: torch.Tensor, feature_frac: int) -> tuple[Ints, Ints, int]:
    """A readout's weights in 8 bits, biases at the scale of its products, and the weights' fraction bits."""
    form = QFormat(READOUT_BITS, fraction_bits(float(weight.abs().max()), READOUT_BITS))
    bias_form = form.plus(feature_frac, 32)
    return quantise(weight.double().numpy(), form), quantise(bias.double().numpy(), bias_form), form.one
