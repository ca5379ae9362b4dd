"""The scaling from raw values to inputs of an exported network, and its class names, as C text."""

from __future__ import annotations

import numpy as np
import torch

from scff_hw.data import Dataset
from scff_hw.escaping import Code, c_string
from scff_hw.export.c.values import InputValues
from scff_hw.recipes import Recipe
from scff_hw.recipes.data_section import DataRecipe
from scff_hw.training.run_context import AnyDataset

IRIS = "sepal length, sepal width, petal length and petal width, in centimetres"


def input_values(recipe: Recipe, dataset: AnyDataset) -> InputValues:
    """Template values for a run's raw values and classes.

    Mean and standard deviation are in the units of the raw values, which the header describes: the input is
    `(raw - mean) / std`. There is one value of each per feature, channel or coefficient.
    """
    mean, std = raw_scale(recipe.data, dataset)
    note, scale_axis = _raw(recipe.data)
    return InputValues(
        note=note,
        scale_axis=scale_axis,
        mean=_floats(mean),
        std=_floats(std),
        class_names=Code(", ".join(map(c_string, dataset.classes))),
    )


def raw_scale(data: DataRecipe, dataset: AnyDataset) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of the raw values, one per feature, channel or coefficient."""
    channels = data.input_shape[0]
    mean, std = (np.broadcast_to(np.array(values, float), channels) for values in (data.mean, data.std))
    if isinstance(dataset, Dataset):
        images = dataset.train.images
        if images.dtype == torch.uint8:
            mean, std = 255 * mean, 255 * std
        else:
            spread = images.double().std(0).numpy()
            spread = np.where(spread == 0, 1.0, spread)
            mean, std = images.double().mean(0).numpy() + spread * mean, spread * std
    return mean.tolist(), std.tolist()


def _raw(data: DataRecipe) -> tuple[str, str]:
    """A description of the raw values, and the axis with one mean and standard deviation per entry."""
    if data.has_sequences:
        frame, last = data.mfcc, data.input_shape[0]
        return (
            f"MFCC 1 to {last} of a frame, in dB (MFCC 0, the loudness, is dropped; a silent frame is all zeros), as "
            f"torchaudio computes them at {frame.sample_rate_hz} Hz with {frame.mels} mel bands, windows of "
            f"{frame.window_samples} samples and a hop of {frame.hop_samples} samples"
        ), "coefficient"
    if len(data.input_shape) == 1:
        return (IRIS if data.name == "iris" else f"features of the data set {data.name}, in its units"), "feature"
    shape = " x ".join(map(str, data.input_shape))
    shrunk = f", each the mean of {data.shrink} x {data.shrink} pixels" if data.shrink > 1 else ""
    return f"pixels, bytes from 0 to 255, channels x height x width = {shape}{shrunk}", "channel"


def _floats(values: list[float]) -> Code:
    return Code(", ".join(f"{value:#.9g}f" for value in values))
