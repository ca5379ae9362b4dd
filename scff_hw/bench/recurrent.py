"""A learning step of a recurrent layer against the literal algorithm: time, and equality of the updates.

A step starts from a batch of sequences and ends with new weights of all arrays, AdamW included. The literal version is
`scff_hw.core.literal_recurrent`: concatenated pairs, padded batches, autograd. Both start from the same weights and
process the same batches in turn, padded to the longest sequence of the data set as in the paper authors' code. The
time of the literal version with batches padded to their own longest sequence is reported too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scff_hw.backends import FloatBackend, Optimisation
from scff_hw.bench.timing import as_in_training, in_turn, machine, ratio, select_cases
from scff_hw.core.literal_recurrent import LiteralDirection, literal_recurrent_loss
from scff_hw.core.pairs import Partners, Stream
from scff_hw.core.random import generator
from scff_hw.core.recurrent import RecurrentLayer, make_directions
from scff_hw.core.rules import SCFF
from scff_hw.training.progress import Progress

TARGET = 5.0
FEATURES, BATCH, BATCHES = 39, 64, 3
"""Values per frame; sequences per batch; batches per turn."""
RULE = SCFF(theta_pos=0.0, theta_neg=1.0, penalty=0.045)
OPTIMISATION = Optimisation("adamw", 2e-5)
SHIFT = 17

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 1.0)
FRAMES = (12, 20, 28, 34, 41, 49, 54, 64, 74, 83, 183)
"""Lengths in frames of the Free Spoken Digit Dataset's training recordings at `QUANTILES`."""

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Case:
    """A layer of `units` in one direction or both."""

    units: int
    both: bool

    @property
    def name(self) -> str:
        return f"{self.units} units, {'two directions' if self.both else 'one direction'}"


CASES = (Case(500, True), Case(500, False), Case(100, True))


def bench_recurrent(*, progress: Progress, repeats: int = 5, threads: int = 2, only: str = "") -> dict[str, Any]:
    """Time the cases whose name contains `only`; return `machine` and `cases` with `ratio`, time of literal / core.

    Args:
        repeats: timed turns per case, after one warm-up turn; a turn is three batches by each version.
        threads: number of PyTorch threads.

    Raises:
        UsageError: no case matches `only`.
    """
    cases = select_cases(CASES, only)
    progress.start("bench recurrent", len(cases) * (repeats + 1))
    with as_in_training(threads):
        results = [_measure(case, repeats, progress) for case in cases]
    progress.finish()
    return {"machine": machine(threads), "cases": results}


def _measure(case: Case, repeats: int, progress: Progress) -> dict[str, Any]:
    batches = [_batch(number) for number in range(BATCHES)]
    shorter = [(x[:, : int(lengths.max())], lengths) for x, lengths in batches]
    steps = {
        "core": _core(case, batches),
        "literal": _literal(case, batches),
        "literal_short_padding": _literal(case, shorter),
    }
    times = ratio(in_turn(steps, repeats, 1, progress), "literal", "core")
    return {"name": case.name, "at_least": TARGET, **times, "update_error": _disagreement(case, batches[0])}


def _batch(number: int) -> Batch:
    draw = generator(0, "bench", "recurrent", number)
    quantiles = torch.tensor(QUANTILES)
    drawn = torch.rand(BATCH, generator=draw)
    after = torch.searchsorted(quantiles, drawn).clamp(1, len(QUANTILES) - 1)
    share = (drawn - quantiles[after - 1]) / (quantiles[after] - quantiles[after - 1])
    lengths = torch.lerp(torch.tensor(FRAMES).float()[after - 1], torch.tensor(FRAMES).float()[after], share)
    lengths = lengths.round().long()
    x = torch.randn(BATCH, FRAMES[-1], FEATURES, generator=draw)
    x[torch.arange(x.shape[1]) >= lengths[:, None]] = 0
    return x, lengths


def _layer(case: Case, optimisation: Optimisation, dtype: str = "float32") -> RecurrentLayer:
    backend = FloatBackend(dtype)
    return RecurrentLayer(make_directions(backend, FEATURES, case.units, optimisation, 0, both=case.both), RULE)


def _core(case: Case, batches: list[Batch]) -> Callable[[], Any]:
    layer, partners = _layer(case, OPTIMISATION), Partners.cyclic(BATCH, SHIFT)

    def turn() -> None:
        for x, lengths in batches:
            layer.learn(Stream(x, lengths=lengths), partners)

    return turn


def _literals(layer: RecurrentLayer) -> list[LiteralDirection]:
    literals = []
    for direction in layer.directions:
        values = [
            value.clone().requires_grad_()
            for array in (direction.inputs, direction.hidden)
            for value in (array.weight, array.bias)
        ]
        literals.append(LiteralDirection(*values, backwards=direction.backwards))
    return literals


def _literal(case: Case, batches: list[Batch]) -> Callable[[], Any]:
    directions = _literals(_layer(case, OPTIMISATION))
    parameters = [value for direction in directions for value in direction.parameters]
    adamw = torch.optim.AdamW(parameters, lr=OPTIMISATION.learning_rate, weight_decay=0.0)

    @torch.enable_grad()
    def turn() -> None:
        for x, lengths in batches:
            adamw.zero_grad()
            _loss(directions, x, lengths).backward()
            adamw.step()

    return turn


def _loss(directions: list[LiteralDirection], x: Tensor, lengths: Tensor) -> Tensor:
    return literal_recurrent_loss(directions, x, lengths, SHIFT, RULE.theta_pos, RULE.theta_neg, RULE.penalty)


def _disagreement(case: Case, batch: Batch) -> float:
    """Return the relative Frobenius distance of the two updates of all weights by plain SGD, in float64.

    In float32, these untrained recurrent networks amplify a rounding error of 1e-8 to 1e-4 within a long sequence.
    """
    layer = _layer(case, Optimisation("sgd", 1.0), "float64")
    x, lengths = batch[0].double(), batch[1]
    directions = _literals(layer)
    with torch.enable_grad():
        _loss(directions, x, lengths).backward()
    layer.learn(Stream(x, lengths=lengths), Partners.cyclic(BATCH, SHIFT))
    distance = scale = 0.0
    for direction, literal in zip(layer.directions, directions, strict=True):
        for array, before in ((direction.inputs, literal.w_inputs), (direction.hidden, literal.w_hidden)):
            assert before.grad is not None
            distance += float((before.detach() - array.weight - before.grad).square().sum())
            scale += float(before.grad.square().sum())
    return float(f"{(distance / scale) ** 0.5:.2e}")
