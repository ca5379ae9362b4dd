"""The scaling from raw values to inputs of an exported network, and its class names, as C text."""

from __future__ import annotations

from scff_hw.escaping import Code, c_string
from scff_hw.export.c.values import InputValues
from scff_hw.recipes.data_section import DataRecipe
from scff_hw.training.finished import FinishedRun

IRIS = "sepal length, sepal width, petal length and petal width, in centimetres"


def input_values(run: FinishedRun) -> InputValues:
    """Return the template values for the scaling and the classes of a run.

    Mean and standard deviation are in the units of the raw values, which the header describes: the input is
    `(raw - mean) / std`. There is one value of each per feature, channel or coefficient.
    """
    note, scale_axis = _raw(run.recipe.data)
    return InputValues(
        note=note,
        scale_axis=scale_axis,
        mean=_floats(run.scaling.mean),
        std=_floats(run.scaling.std),
        class_names=Code(", ".join(map(c_string, run.dataset.classes))),
    )


def _raw(data: DataRecipe) -> tuple[str, str]:
    """Return a description of the raw values, and the axis with one mean and standard deviation per entry."""
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


def _floats(values: tuple[float, ...]) -> Code:
    return Code(", ".join(f"{value:#.9g}f" for value in values))
