"""The integer reference of a run in fixed point, and what it answers: what integer graphs are held to."""

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
    """Feed-forward layers as the reference has them, holding the run's integers bit for bit."""
    return [reference_layer(layer.array, layer.spec) for layer in cast("Sequence[FixedLayer]", layers)]


def integer_readout(run: FinishedRun) -> IntegerReadout:
    """The readout's integers; its numbers are on their grids already."""
    fixed = fixed_part(run)
    feature, frac = next(iter(fixed.backend.formats.values())).feature, fixed.readout_frac
    weight, bias = (tensor.double().numpy() for tensor in run.readout)
    whole = QFormat(8, frac), QFormat(32, frac + feature.one)
    return IntegerReadout(quantise(weight, whole[0]), quantise(bias, whole[1]), whole[1].one)


def integer_answers(
    stack: Sequence[IntegerLayer], layers: Sequence[int], readout: IntegerReadout, x: NDArray[np.float64]
) -> tuple[Ints, Ints]:
    """Features `[N, F]` and logits `[N, classes]` of the reference for samples `[N, ...]`."""
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
    """The same of a recurrent network for sequences `[N, T, F]` of `lengths` `[N]`.

    Args:
        dense: the layers behind the recurrent one.
    """
    raw = quantise(x, first.directions[0].inputs.spec.formats.input)
    value = first.forward([each[:length] for each, length in zip(raw, lengths, strict=True)])
    features = [first.features(value)] if 0 in layers else []
    return _answers(features + _features(dense[: max(layers)], layers, value, 1), readout)


def product_formats(stack: Sequence[IntegerLayer], x: NDArray[np.float64]) -> list[QFormat]:
    """For each layer, the 8-bit format with the least squared error on what its products give for samples `[N, ...]`.

    A convolution's products include the bias, as in QLinearConv; a dense layer's do not, as in QLinearMatMul.
    """
    value, found = quantise(x, stack[0].spec.formats.input), []
    for layer in stack:
        form = layer.spec.formats
        if layer.spec.kernel is None:
            value = value.reshape(len(value), -1)
        u = layer.mvm(layer.standardised(value))
        if layer.spec.kernel is not None:
            u = u + shift_right(layer.bias, BIAS_GUARD_BITS, form.rounding)
        numbers = u * np.exp2(-np.asarray(form.accumulator.fracs, np.float64))
        found.append(best_format(torch.from_numpy(numbers), 8))
        value = layer.forward(value)
    return found


def _features(stack: Sequence[IntegerLayer], layers: Sequence[int], value: Ints, start: int) -> list[Ints]:
    """Features of those layers of a stack that are read, the first of which has the number `start`."""
    found = []
    for index, layer in enumerate(stack, start):
        if layer.spec.kernel is None:
            value = value.reshape(len(value), -1)
        value = layer.forward(value)
        if index in layers:
            found.append(layer.features(value))
    return found


def _answers(features: Sequence[Ints], readout: IntegerReadout) -> tuple[Ints, Ints]:
    read = np.concatenate(features, axis=1)
    return read, logits(read, readout.weight, readout.bias)
