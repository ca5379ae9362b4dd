"""Overhead of learning in fixed point over learning in float: one learning step of a layer in each, with plain SGD."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from scff_hw.backends import Backend, FloatBackend
from scff_hw.bench.timing import as_in_training, in_turn, machine, ratio, select_cases
from scff_hw.core.pairs import Partners, Stream
from scff_hw.core.random import generator
from scff_hw.recipes import Recipe, load_recipe
from scff_hw.training.build import build_network, untrained_weights
from scff_hw.training.progress import Progress

TARGET = 1 / 3
"""Smallest allowed speed in fixed point, relative to the speed in float."""

WARM_UP = 3
"""Warm-up turns, which are not counted: the first ones compile."""

PLAIN_SGD = ("layers.*.learn.optimiser=sgd", "layers.*.learn.weight_decay=0", "layers.*.learn.learning_rate=0.01")


@dataclass(frozen=True)
class Case:
    """One layer (1-based) of a recipe, with overrides (`key=value`) of its number formats."""

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
    """Time the cases whose name contains `only`; return `machine` and `cases` with `ratio`, time of float / fixed.

    Args:
        repeats: timed pairs per case, after three warm-up pairs.
        threads: number of PyTorch threads.

    Raises:
        UsageError: no case matches `only`.
    """
    cases = select_cases(CASES, only)
    progress.start("bench fixed", len(cases) * (repeats + WARM_UP))
    with as_in_training(threads):
        results = [_measure(case, repeats, progress) for case in cases]
    progress.finish()
    return {"machine": machine(threads, brevitas=version("brevitas")), "cases": results}


def _measure(case: Case, repeats: int, progress: Progress) -> dict[str, Any]:
    from scff_hw.backends.fixed import FixedBackend, calibrate

    recipe = load_recipe(case.recipe, [*PLAIN_SGD, *case.formats])
    weights = untrained_weights(recipe, 0)
    batch = recipe.training.batch_size
    x = torch.rand(batch, *recipe.data.input_shape, generator=generator(0, "bench", case.name))
    in_float = build_network(recipe, FloatBackend(), weights)
    formats = calibrate(in_float, Stream(x), recipe.fixed_point, batch=batch).formats
    steps = {
        "float": _step(recipe, FloatBackend(), x, case.layer - 1),
        "fixed": _step(recipe, FixedBackend(recipe.fixed_point, formats), x, case.layer - 1),
    }
    times = in_turn(steps, repeats, WARM_UP, progress)
    return {"name": case.name, "at_least": round(TARGET, 3), **ratio(times, "float", "fixed")}


def _step(recipe: Recipe, backend: Backend, x: Tensor, index: int) -> Callable[[], Any]:
    """Return a learning step of layer `index` (0-based); the outputs of the layers before it are computed once."""
    network = build_network(recipe, backend, untrained_weights(recipe, 0))
    partners = Partners.cyclic(len(x), 7)
    stream = Stream(x)
    for layer in network.layers[:index]:
        stream = layer.forward(stream, partners)
    return lambda: network.layers[index].learn(stream, partners)
