"""Exported C says how raw values become inputs, and names its classes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scff_hw.data import load
from scff_hw.export.c.model import export_c
from scff_hw.export.fixed_run import IntegerRun
from scff_hw.training.finished import FinishedRun

IRIS = (
    *("layers.*.learn.optimiser=sgd", "layers.*.learn.epochs=1", "layers.*.learn.weight_decay=0"),
    *("layers.*.learn.learning_rate=0.3", "readout.solver=ridge", "controls.backprop=null", "controls.untrained=false"),
)


@pytest.mark.parametrize(
    ("recipe", "overrides", "said", "names"),
    [
        ("iris-mlp", IRIS, ["in centimetres", "one per feature"], ["setosa", "versicolor", "virginica"]),
        ("digits-100", (), ["bytes from 0 to 255", "1 x 8 x 8", "one per channel"], list("0123456789")),
        ("digits-100", ("data.mean=[0.25]", "data.std=[0.5]"), ["one per channel"], list("0123456789")),
    ],
    ids=["features", "pixels", "pixels, standardised"],
)
def test_raw_values_become_inputs_by_the_constants_of_the_header(
    recipe: str, overrides: tuple[str, ...], said: list[str], names: list[str], finished: Any, tmp_path: Path
) -> None:
    run, dataset = finished(recipe, *overrides), load("iris" if recipe == "iris-mlp" else "digits")
    export_c(run, tmp_path / "out")
    stem = f"model_{recipe.replace('-', '_')}"
    header = (tmp_path / "out" / f"{stem}.h").read_text()
    assert all(text in header for text in said)
    mean, std = (floats(header, name) for name in ("MEAN", "STD"))
    frac = int(re.search(r"_INPUT_FRAC (\d+)", header)[1])  # pyright: ignore[reportOptionalSubscript]
    raw = dataset.test.images[:30].double().numpy()
    shape = (-1, *(1 for _ in raw.shape[2:]))
    inputs = np.clip(np.rint((raw - mean.reshape(shape)) / std.reshape(shape) * 2.0**frac), -127, 127)
    expected = IntegerRun.of(FinishedRun.open(run)).samples("test", 30).reshape(inputs.shape)
    assert np.abs(inputs - expected).max() <= 1 and (inputs == expected).mean() > 0.995 and np.ptp(expected) > 20
    source = (tmp_path / "out" / f"{stem}.c").read_text()
    listed = re.search(rf"scff_{stem}_class_names\[\w+\] = \{{(.*)\}};", source)
    assert listed is not None and listed[1] == ", ".join(f'"{name}"' for name in names)
    assert "INPUT_MEAN" in (tmp_path / "out" / "README.md").read_text()


def floats(header: str, name: str) -> Any:
    """The values of a macro."""
    found = re.search(rf"_INPUT_{name} \{{(.*)\}}", header)
    assert found is not None
    return np.array([float(text.strip().removesuffix("f")) for text in found[1].split(",")])
