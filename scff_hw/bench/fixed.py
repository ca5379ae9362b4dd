"""What learning in fixed point costs over learning in float: one step of a layer by each, both with plain SGD."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from scff_hw.backends import Backend, FloatBackend
from scff_hw.core.memory import large_blocks_kept
from scff_hw.core.random import generator
from scff_hw.core.streams import Partners, Stream
from scff_hw.errors import UsageError
from scff_hw.recipes import Recipe, load_recipe
from scff_hw.training.build import build_network, untrained_weights
from scff_hw.training.progress import Progress

TARGET = 1 / 3
"""Speed in fixed point, at least this share of float's."""

PLAIN_SGD = ("layers.*.learn.optimiser=sgd", "layers.*.learn.weight_decay=0", "layers.*.learn.learning_rate=0.01")


@dataclass(frozen=True)
class Case:
    """One layer of a recipe, from 1, in number formats."""

    recipe: str
    layer: int
    formats: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        changed = "".join(f", {text.removeprefix('fixed_point.')}" for text in self.formats)
        return f"{self.recipe} layer {self.layer}{changed}"


CASES = (
    Case("mnist-500", 1),
    Case("mnist-500", 1, ("fixed_point.shadow_bits=0",)),
    Case("mnist-mlp", 2),
    Case("cifar10-cnn", 1),
)


def bench_fixed(*, progress: Progress, repeats: int = 5, threads: int = 2, only: str = "") -> dict[str, Any]:
    """Measure the cases whose name contains `only`.

    Args:
        repeats: timed pairs a case, after three that are not counted.
        threads: of PyTorch.

    Raises:
        UsageError: no case matches `only`.
    """
    cases = [case for case in CASES if only in case.name]
    if not cases:
        names = "; ".join(case.name for case in CASES)
        raise UsageError(f"The cases must be chosen by a part of one of these names: {names}. Got '{only}' instead.")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    progress.start("bench fixed", len(cases) * (repeats + 3))
    try:
        with torch.no_grad(), large_blocks_kept():  # as in training
            results = [_measure(case, repeats, progress) for case in cases]
    finally:
        torch.set_num_threads(before)
    progress.finish()
    machine = {
        "cpu": platform.processor() or platform.machine(),
        "threads": threads,
        "torch": torch.__version__,
        "brevitas": version("brevitas"),
    }
    return {"machine": machine, "cases": results}


def _measure(case: Case, repeats: int, progress: Progress) -> dict[str, Any]:
    from scff_hw.backends.fixed import FixedBackend, calibrate

    recipe = load_recipe(case.recipe, [*PLAIN_SGD, *case.formats])
    weights = untrained_weights(recipe, 0)
    batch = recipe.training.batch_size
    x = torch.rand(batch, *recipe.data.input_shape, generator=generator(0, "bench", case.name))
    in_float = build_network(recipe, FloatBackend(), weights)
    formats = calibrate(in_float, x, recipe.fixed_point, batch=batch).formats
    steps = {
        "float": _step(recipe, FloatBackend(), x, case.layer - 1),
        "fixed": _step(recipe, FixedBackend(recipe.fixed_point, formats), x, case.layer - 1),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats + 3):
        for name, step in steps.items():
            times[name].append(_milliseconds(step))
        progress.advance(1)
    times = {name: values[3:] for name, values in times.items()}
    fixed, floating = (statistics.median(times[name]) for name in ("fixed", "float"))
    ratios = [b / a for a, b in zip(times["fixed"], times["float"], strict=True)]
    return {
        "name": case.name,
        "ratio": round(floating / fixed, 3),
        "ratio_range": [round(min(ratios), 3), round(max(ratios), 3)],
        "at_least": round(TARGET, 3),
        "fixed_ms": round(fixed, 2),
        "float_ms": round(floating, 2),
    }


def _step(recipe: Recipe, backend: Backend, x: Tensor, index: int) -> Callable[[], Any]:
    """One update of a layer, with what the layers before it pass on made once."""
    network = build_network(recipe, backend, untrained_weights(recipe, 0))
    partners = Partners.cyclic(len(x), 7)
    stream = Stream(x)
    for layer in network.layers[:index]:
        stream = layer.forward(stream, partners)
    return lambda: network.layers[index].learn(stream, partners)


def _milliseconds(step: Callable[[], Any]) -> float:
    began = time.perf_counter()
    step()
    return (time.perf_counter() - began) * 1e3
