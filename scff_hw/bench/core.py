"""One learning step of the core against the literal algorithm: time, peak memory, and equality of the updates.

A step starts from a batch of images and ends with new weights of one layer, as the recipe trains it: frozen layers
before it, pairs, MVMs, goodness, update, AdamW. The literal version is `scff_hw.core.literal` (concatenated pairs,
autograd, float32, eager). Both start from the same weights and batch, and are timed in turn.

The core keeps freed memory (`scff_hw.core.memory`), which contributes to its speed; the literal version runs with the
default allocator. The time of the literal version with the core's allocator setting is reported too.
"""

from __future__ import annotations

import itertools
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scff_hw.backends import FloatBackend
from scff_hw.core.compiling import compiler_missing
from scff_hw.core.layer import PairLayer
from scff_hw.core.literal import LiteralLayer, literal_loss, literal_step
from scff_hw.core.memory import keep_large_blocks, release_free_memory
from scff_hw.core.network import Network
from scff_hw.core.pairs import Stream
from scff_hw.core.random import generator
from scff_hw.core.rules import SCFF
from scff_hw.errors import UsageError
from scff_hw.recipes import Recipe, load_recipe
from scff_hw.training.build import build_network, untrained_weights
from scff_hw.training.progress import Progress

BATCH = 100
TURN_SECONDS = 0.2


@dataclass(frozen=True)
class Case:
    """One layer (1-based) of one recipe in one number format, and its target for the ratio of times, literal / core."""

    recipe: str
    layer: int
    dtype: str
    target: float

    @property
    def name(self) -> str:
        return f"{self.recipe} layer {self.layer} {self.dtype}"


CASES = (
    Case("mnist-mlp", 1, "float32", 4),
    Case("cifar10-cnn", 1, "float32", 10),
    Case("cifar10-cnn", 2, "float32", 3),
    Case("cifar10-cnn", 3, "float32", 6),
    Case("cifar10-cnn", 1, "bfloat16", 25),
    Case("cifar10-cnn", 2, "bfloat16", 6),
    Case("cifar10-cnn", 3, "bfloat16", 10),
)

TOLERANCE = {"float32": 1e-4, "bfloat16": 2e-2}
"""Relative Frobenius error allowed between the updates of the core and of the literal version."""


def bench_core(
    *, progress: Progress, repeats: int = 5, threads: int = 2, only: str = "", memory: bool = True
) -> dict[str, Any]:
    """Time the cases whose name contains `only`; return `machine` and `cases` with `ratio`, time of literal / core.

    Args:
        only: part of a case's name; the empty text matches all.
        repeats: timed turns per case, after one warm-up turn of each version.
        threads: number of PyTorch threads.
        memory: measure peak memory too (Linux).

    Raises:
        UsageError: no case matches `only`.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    cases = [case for case in CASES if only in case.name]
    if not cases:
        names = ", ".join(case.name for case in CASES)
        raise UsageError(f"The cases must be chosen by a part of one of these names: {names}. Got '{only}' instead.")
    progress.start("bench core", len(cases) * (repeats + 1))
    try:
        results = [_measure(case, repeats, memory, progress) for case in cases]
    finally:
        torch.set_num_threads(before)
    progress.finish()
    return {
        "machine": {
            "cpu": platform.processor() or platform.machine(),
            "capability": torch.backends.cpu.get_cpu_capability(),
            "threads": threads,
            "torch": torch.__version__,
            "compiler": compiler_missing() or "present",
        },
        "cases": results,
    }


def _measure(case: Case, repeats: int, memory: bool, progress: Progress) -> dict[str, Any]:
    recipe = load_recipe(case.recipe)
    x = torch.randn(BATCH, *recipe.data.input_shape, generator=generator(0, "bench"))
    error = _disagreement(recipe, case, x)
    core_step, literal_step = _core_step(recipe, case, x), _literal_step(recipe, case, x)
    times: dict[str, list[float]] = {"core": [], "literal": [], "literal, same allocator": []}
    for _ in range(repeats + 1):
        literal_step()  # a warm-up step per turn: it reallocates the pages that the previous turn released
        times["literal"].append(_milliseconds(literal_step))
        with keep_large_blocks():
            core_step()
            times["core"].append(_milliseconds(core_step))
            times["literal, same allocator"].append(_milliseconds(literal_step))
        progress.advance(1)
    times = {name: values[1:] for name, values in times.items()}
    core, literal, same_allocator = (statistics.median(values) for values in times.values())
    result = {
        "name": case.name,
        "ratio": round(literal / core, 2),
        "ratio_range": [
            round(f(a / b for a, b in zip(times["literal"], times["core"], strict=True)), 2) for f in (min, max)
        ],
        "target": case.target,
        "core_ms": round(core, 2),
        "literal_ms": round(literal, 2),
        "literal_same_allocator_ms": round(same_allocator, 2),
        "update_error": error,
        "update_error_allowed": TOLERANCE[case.dtype],
    }
    if memory:
        del core_step, literal_step
        result |= {
            "core_peak_mib": _peak_mib(_core_step, recipe, case, x),
            "literal_peak_mib": _peak_mib(_literal_step, recipe, case, x),
        }
    return result


def _milliseconds(step: Callable[[], Any]) -> float:
    """Return the mean time of a step in ms, over a turn of at least `TURN_SECONDS`."""
    began = time.perf_counter()
    for count in itertools.count(1):
        step()
        elapsed = time.perf_counter() - began
        if elapsed >= TURN_SECONDS:
            return elapsed / count * 1e3
    raise AssertionError("unreachable")


def _network(recipe: Recipe, case: Case, dtype: str) -> Network:
    return build_network(recipe, FloatBackend(dtype), untrained_weights(recipe, 0))


def _core_step(recipe: Recipe, case: Case, x: Tensor) -> Callable[[], Any]:
    network = _network(recipe, case, case.dtype)
    draws = iter(range(10**9))
    return lambda: network.learn(Stream(x), {case.layer - 1}, generator(0, next(draws)))


def _literals(recipe: Recipe, case: Case, dtype: torch.dtype = torch.float32) -> list[LiteralLayer]:
    network = _network(recipe, case, "float64")
    layers = []
    for layer in network.layers[: case.layer]:
        assert isinstance(layer, PairLayer) and isinstance(layer.rule, SCFF)
        layers.append(
            LiteralLayer(
                layer.array.weight.to(dtype).requires_grad_(),
                layer.array.bias.to(dtype, copy=True).requires_grad_(),
                layer.rule.theta_pos,
                layer.rule.theta_neg,
                layer.rule.penalty,
                layer.makes_pairs,
                layer.padding,
                layer.transmit,
                layer.pool,
            )
        )
    return layers


def _literal_step(recipe: Recipe, case: Case, x: Tensor) -> Callable[[], Any]:
    layers = _literals(recipe, case)
    learn = recipe.layers[case.layer - 1].learn
    flat = x if layers[0].weight.dim() == 4 else x.flatten(1)
    optimiser = torch.optim.AdamW(
        [layers[-1].weight, layers[-1].bias], lr=learn.learning_rate, weight_decay=learn.weight_decay
    )
    shifts = [17] * len(layers)
    return lambda: literal_step(layers, flat, shifts, optimiser)


def _disagreement(recipe: Recipe, case: Case, x: Tensor) -> float:
    """Return the relative Frobenius distance of the updates by plain SGD at rate 1, where an update is the gradient."""
    layers = tuple(
        layer.model_copy(update={"learn": layer.learn.model_copy(update={"optimiser": "sgd", "weight_decay": 0.0})})
        for layer in recipe.layers
    )
    plain = recipe.model_copy(update={"layers": layers})
    network = _network(plain, case, case.dtype)
    (array,) = network.layers[case.layer - 1].arrays.values()
    array.learning_rate = 1.0
    before = array.weight
    network.learn(Stream(x), {case.layer - 1}, generator(0, "agreement"))
    draws = generator(0, "agreement")
    shifts = []
    for index in range(case.layer):
        used = index == case.layer - 1 or not network.layers[index + 1].makes_pairs
        drawn = network.layers[index].makes_pairs and used
        shifts.append(int(torch.randint(1, BATCH, (1,), generator=draws)) if drawn else 1)
    literal = _literals(plain, case)
    flat = x if literal[0].weight.dim() == 4 else x.flatten(1)
    (gradient,) = torch.autograd.grad(literal_loss(literal, flat, shifts), [literal[-1].weight])
    change = before - array.weight
    return float(f"{float((change - gradient).norm() / gradient.norm()):.2e}")


def _peak_mib(
    make: Callable[[Recipe, Case, Tensor], Callable[[], Any]], recipe: Recipe, case: Case, x: Tensor
) -> float | None:
    """Measure the peak memory of weights, optimiser, buffers and a step, in MiB above the process's memory before.

    None if the system cannot measure it. Kernels are already compiled, so the compiler is not included.
    """
    reset = Path("/proc/self/clear_refs")
    if not reset.exists():
        return None
    release_free_memory()
    start = _status_kib("VmRSS")
    step = make(recipe, case, x)
    step()
    reset.write_text("5")
    step()
    return round((_status_kib("VmHWM") - start) / 1024, 1)


def _status_kib(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))
