"""The integer reference of a fixed-point run, and its features and logits, which integer graphs must equal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from scff_hw.backends.fixed.formats.choose import best_format
from scff_hw.backends.fixed.formats.formats import BIAS_GUARD_BITS, QFormat
from scff_hw.backends.fixed.reference.arithmetic import Ints, shift_right
from scff_hw.backends.fixed.reference.layer import IntegerLayer, logits, quantise
from scff_hw.backends.fixed.reference.recurrent import IntegerRecurrent
from scff_hw.backends.fixed.tensor.layer import FixedLayer
from scff_hw.export.fixed_run import fixed_part, reference_layer
from scff_hw.export.onnx.integer import IntegerReadout
from scff_hw.training.finished import FinishedRun


def integer_stack(layers: Sequence[object]) -> list[IntegerLayer]:
    """Return feed-forward layers as layers of the reference, with the run's integers bit for bit."""
    return [reference_layer(layer.array, layer.spec) for layer in cast("Sequence[FixedLayer]", layers)]


def integer_readout(run: FinishedRun) -> IntegerReadout:
    """Return the readout's integers; the run's readout is already quantised."""
    fixed = fixed_part(run)
    feature, frac = next(iter(fixed.backend.formats.values())).feature, fixed.readout_frac
    weight, bias = (tensor.double().numpy() for tensor in run.readout)
    weight_form, bias_form = QFormat(8, frac), QFormat(32, frac + feature.frac_bits)
    return IntegerReadout(quantise(weight, weight_form), quantise(bias, bias_form), bias_form.frac_bits)


def integer_answers(
    stack: Sequence[IntegerLayer], layers: Sequence[int], readout: IntegerReadout, x: NDArray[np.float64]
) -> tuple[Ints, Ints]:
    """Return the features `[N, F]` and logits `[N, classes]` of the reference for samples `[N, ...]`."""
    value = quantise(x, stack[0].spec.formats.input)
    return _answers(_features(stack[: max(layers) + 1], layers, value, 0), readout)


def sequence_answers(
    first: IntegerRecurrent,
    dense: Sequence[IntegerLayer],
    layers: Sequence[int],
    readout: IntegerReadout,
    x: NDArray[np.float64],
    lengths: NDArray[np.int64],
) -> tuple[Ints, Ints]:
    """Return the same for a recurrent network and sequences `[N, T, F]` of `lengths` `[N]`.

    Args:
        dense: the layers after the recurrent one.
    """
    raw = quantise(x, first.directions[0].inputs.spec.formats.input)
    value = first.forward([sequence[:length] for sequence, length in zip(raw, lengths, strict=True)])
    features = [first.features(value)] if 0 in layers else []
    return _answers(features + _features(dense[: max(layers)], layers, value, 1), readout)


def product_formats(stack: Sequence[IntegerLayer], x: NDArray[np.float64]) -> list[QFormat]:
    """For each layer, the 8-bit format with the least squared error on its products for samples `[N, ...]`.

    A convolution's products include the bias, as in QLinearConv; a dense layer's do not, as in QLinearMatMul.
    """
    value, formats = quantise(x, stack[0].spec.formats.input), []
    for layer in stack:
        form = layer.spec.formats
        if layer.spec.kernel is None:
            value = value.reshape(len(value), -1)
        u = layer.mvm(layer.standardised(value))
        if layer.spec.kernel is not None:
            u = u + shift_right(layer.bias, BIAS_GUARD_BITS, form.rounding)
        numbers = u * np.exp2(-np.asarray(form.accumulator.fracs, np.float64))
        formats.append(best_format(torch.from_numpy(numbers), 8))
        value = layer.forward(value)
    return formats


def _features(stack: Sequence[IntegerLayer], layers: Sequence[int], value: Ints, start: int) -> list[Ints]:
    """Return the features of the layers of a stack that the readout reads; `start` is the index of the first layer."""
    features = []
    for index, layer in enumerate(stack, start):
        if layer.spec.kernel is None:
            value = value.reshape(len(value), -1)
        value = layer.forward(value)
        if index in layers:
            features.append(layer.features(value))
    return features


def _answers(features: Sequence[Ints], readout: IntegerReadout) -> tuple[Ints, Ints]:
    read = np.concatenate(features, axis=1)
    return read, logits(read, readout.weight, readout.bias)
