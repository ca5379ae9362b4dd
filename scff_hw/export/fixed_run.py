"""The integers of a finished fixed-point run, the common input of its exporters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from scff_hw.errors import UsageError
from scff_hw.recipes import Recipe
from scff_hw.training.finished import FinishedRun, FixedPart

READOUT_BITS = 8
LEARNING_FRAC = 7
"""Largest number of fraction bits of a learning readout's weights: weights of logistic units reach 1."""

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class IntegerRun:
    """A feed-forward network in integers, with its run.

    Attributes:
        shapes: shape of each layer's input, (channels, height, width) or (inputs,).
        rate_shifts: one per layer; learning rates are `2^-shift`.
        readout_weight, readout_bias: `[classes, features]` in 8 bits, `[classes]` in 32.
        readout_frac: fraction bits of the readout's weights.
        read_layers: indices of the layers that the readout reads, from 0.
    """

    run: FinishedRun
    layers: tuple[IntegerLayer, ...]
    shapes: tuple[tuple[int, ...], ...]
    rate_shifts: tuple[int, ...]
    readout_weight: Ints
    readout_bias: Ints
    readout_frac: int
    read_layers: tuple[int, ...]

    @classmethod
    def of(cls, run: FinishedRun) -> IntegerRun:
        """Return the integers of a run of the fixed backend.

        Raises:
            CheckpointError: the run's files do not belong together.
            UsageError: a run on another backend, or of a recurrent layer.
        """
        require_fixed(run)
        require_feed_forward(run)
        layers, rates = [], []
        built: Sequence[Any] = fixed_part(run).network.layers
        for layer in built:
            assert isinstance(layer, FixedLayer), "a run of the fixed backend was built of other layers"
            # a device learns from every position: drawing some of them only saves time where there are caches
            layers.append(reference_layer(layer.array, replace(layer.spec, positions=None)))
            rates.append(layer.array.rate_shift)
        return cls(
            run,
            tuple(layers),
            tuple(shapes.input for shapes in run.recipe.shapes),
            tuple(rates),
            *quantised_readout(run, layers[0].spec.formats.feature.frac_bits),
            run.read_layers,
        )

    @property
    def recipe(self) -> Recipe:
        return self.run.recipe

    @property
    def seed(self) -> int:
        return self.run.seed

    @property
    def classes(self) -> int:
        return len(self.readout_weight)

    @property
    def dataset(self) -> Dataset:
        """The run's data set.

        Raises:
            DataError: the data set is missing, damaged, or not the run's.
        """
        dataset = self.run.dataset
        assert isinstance(dataset, Dataset), "a run on sequences was read as one on images"
        return dataset

    def samples(self, part: str, count: int) -> Ints:
        """Return the first `count` samples of a part of the run's data, in the input's format, `[count, ...]`."""
        samples = self.run.samples(part)
        x = samples.batch(torch.arange(min(count, len(samples)))).positive.numpy().astype(np.float64)
        return self.shaped(0, quantise(x, self.layers[0].spec.formats.input))

    def shaped(self, index: int, x: Ints) -> Ints:
        """Return the samples in the shape of layer `index`'s input."""
        return x.reshape(len(x), *(self.shapes[index] if self.layers[index].spec.kernel else (-1,)))

    @property
    def feature_frac(self) -> int:
        """Fraction bits of features."""
        return self.layers[0].spec.formats.feature.frac_bits

    @property
    def learning_frac(self) -> int:
        """Fraction bits of a learning readout's weights: fewer, so that weights can grow."""
        return max(self.readout_frac - BIAS_GUARD_BITS, min(self.readout_frac - 1, LEARNING_FRAC))

    def features(self, x: Ints, layers: Sequence[IntegerLayer] | None = None) -> Ints:
        """Return the readout's input `[N, features]` for samples `[N, ...]`; `layers` replaces the run's own layers."""
        features = []
        for index, layer in enumerate(layers or self.layers):
            x = layer.forward(self.shaped(index, x))
            if index in self.read_layers:
                features.append(layer.features(x))
        return np.concatenate(features, axis=1)

    def logits(self, x: Ints) -> Ints:
        """Return the logits `[N, classes]` of samples `[N, ...]`."""
        return logits(self.features(x), self.readout_weight, self.readout_bias)

    def readout(self) -> IntegerReadout:
        """Return the run's readout in the format that continues learning."""
        shift = BIAS_GUARD_BITS - (self.readout_frac - self.learning_frac)
        return IntegerReadout(
            self.readout_weight << shift,
            saturate(self.readout_bias << shift, BIAS_BITS),
            QFormat(READOUT_BITS, self.learning_frac),
            self.feature_frac,
            self.layers[0].spec.formats.rounding,
        )


def require_fixed(run: FinishedRun) -> None:
    """Refuse a run on another backend.

    Raises:
        UsageError: names the backend.
    """
    if not run.backend_class.integers:
        raise UsageError(
            "The run to export must be on the fixed backend, whose numbers are integers. "
            f"Got {run.path} on '{run.backend}' instead; train it with --backend fixed."
        )


def require_feed_forward(run: FinishedRun) -> None:
    """Refuse a run of a recurrent layer.

    Raises:
        UsageError: names the recurrent layers that can be exported.
    """
    if run.recipe.data.has_sequences:
        raise UsageError(
            f"The layers to export as C must be feed-forward. Got the recurrent layer of {run.path} instead. A "
            "recurrent layer must be alone and have one direction: train it with --set layers.1.directions=1."
        )


def fixed_part(run: FinishedRun) -> FixedPart:
    """Return the fixed-point part of a run on the fixed backend; errors as in `FinishedRun.fixed`."""
    assert run.fixed is not None, "a run that is not in fixed point has no integers"
    return run.fixed


def reference_layer(array: FixedArray, spec: LayerSpec) -> IntegerLayer:
    """Return an array as a layer of the integer reference, bit for bit."""
    state = array.state()
    layer = IntegerLayer(array.weight.numpy(), array.bias.numpy(), spec)
    layer.stored = state["held"].flatten(1).to(torch.int64).numpy()
    layer.bias = state["bias"].to(torch.int64).numpy()
    layer.states = state["states"].to(torch.int64).numpy().astype(np.uint32)
    return layer


def quantised_readout(run: FinishedRun, feature_frac: int) -> tuple[Ints, Ints, int]:
    """Return a readout's weights in 8 bits, its biases at the scale of the products, and the weights' fraction bits."""
    weight, bias = run.trained_readout
    form = QFormat(READOUT_BITS, fraction_bits(float(weight.abs().max()), READOUT_BITS))
    bias_form = form.plus(feature_frac, 32)
    return quantise(weight.double().numpy(), form), quantise(bias.double().numpy(), bias_form), form.frac_bits
