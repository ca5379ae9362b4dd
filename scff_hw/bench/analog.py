"""Overhead of the analog backend over aihwkit's own tile: one read and one update, through the array and directly.

Both use tiles of the same profile and size and the same rows, and are timed in turn. The array additionally
interleaves rows, adds the bias, and counts pulses and clipped updates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scff_hw.backends.analog import AnalogArray, AnalogBackend
from scff_hw.bench.timing import as_in_training, in_turn, machine, ratio, select_cases
from scff_hw.core.arrays import Optimisation
from scff_hw.core.geometry import Conv2d, Dense, Geometry
from scff_hw.core.initial import initial_weights
from scff_hw.core.random import generator
from scff_hw.hardware import load_profile
from scff_hw.hardware.available import aihwkit_version
from scff_hw.hardware.simulator import rpu_config
from scff_hw.training.progress import Progress

BATCH = 100
TARGET = 1.15
"""Largest allowed ratio of the time through the array to that of the direct calls."""


@dataclass(frozen=True)
class Case:
    """One layer on one profile; `side`: height and width of a convolution's input."""

    profile: str
    geometry: Geometry
    side: int = 0

    @property
    def name(self) -> str:
        return f"{self.profile} {self.geometry.label}"


CASES = (
    Case("ideal", Dense(784, 500)),
    Case("ecram", Dense(784, 500)),
    Case("reram-es", Dense(784, 500)),
    Case("ecram", Dense(784, 2000)),
    Case("ecram", Conv2d(3, 32, 5), 12),
)


def bench_analog(*, progress: Progress, repeats: int = 5, threads: int = 2, only: str = "") -> dict[str, Any]:
    """Time the cases whose name contains `only`; return `machine` and `cases` with `ratio`, time of array / tile.

    Args:
        repeats: timed pairs per case, after one warm-up pair.
        threads: number of PyTorch threads.

    Raises:
        UsageError: no case matches `only`.
        MissingPartError: aihwkit is not installed, or does not work.
    """
    cases = select_cases(CASES, only)
    progress.start("bench analog", len(cases) * (repeats + 1))
    with as_in_training(threads):
        results = [_measure(case, repeats, progress) for case in cases]
    progress.finish()
    return {"machine": machine(threads, aihwkit=aihwkit_version()), "cases": results}


def _measure(case: Case, repeats: int, progress: Progress) -> dict[str, Any]:
    draw = generator(0, "bench", case.name)
    g = case.geometry
    x = torch.randn((BATCH, *g.input_shape(case.side)), generator=draw)
    weight, bias = initial_weights(g, "linear", draw)
    # the error below is like SCFF's on MNIST: about half of the units are 0, the others a few parts in 1e5
    profile = load_profile(case.profile, ["array.rows=null", "array.columns=null"])
    array = AnalogBackend(profile).array(weight, bias, g, Optimisation("sgd", 0.3))
    error = torch.randn(array.mvm(x).shape, generator=draw).relu_() * 2e-5
    steps = {"tile": _directly(array, x, error), "array": _through(array, x, error)}
    return {"name": case.name, "at_most": TARGET, **ratio(in_turn(steps, repeats, 1, progress), "array", "tile")}


def _through(array: AnalogArray, x: Tensor, error: Tensor) -> Callable[[], Any]:
    bias_error = torch.zeros(array.geometry.outputs)

    def step() -> None:
        array.mvm(x)
        array.update(x, error, bias_error)

    return step


def _directly(array: AnalogArray, x: Tensor, error: Tensor) -> Callable[[], Any]:
    """Return a step that reads and updates a plain aihwkit tile; a convolution's windows are unfolded once per step."""
    geometry = array.geometry
    config = rpu_config(array.profile, 1)
    tile = config.tile_class(geometry.outputs, geometry.fan_in, config, bias=False)
    tile.set_weights(array.weight.flatten(1))
    tile.set_learning_rate(array.learning_rate)

    def step() -> None:
        rows = geometry.rows(x)
        tile.joint_forward(rows)
        tile.update(rows, geometry.columns(error).contiguous())

    return step

