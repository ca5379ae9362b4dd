"""Readouts by convex optimisation: the L2 strength is chosen on held-out training samples, then all samples are fitted.

The solution depends on the features alone, not on the order of samples, a learning rate or a number of epochs. So the
accuracies of different hidden layers differ because of their features, not because of unequal convergence.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from statistics import mean
from typing import ClassVar, Literal

import torch
from torch import Tensor

from scff_hw.core.random import generator
from scff_hw.documents import ReadoutReport
from scff_hw.training.features import FeatureSource
from scff_hw.training.readout.columns import Columns
from scff_hw.training.readout.linear import Readout, ReadoutTransform
from scff_hw.training.readout.solver import never

STRENGTHS = tuple(0.1 / 4**step for step in range(7))
"""L2 strengths tried, equal for all features and both solvers; strength / 2 * |weight|^2, with the weights for scaled
columns, is added to the mean loss. From strong to weak, so that each solution is a good start for the next fit."""

EIGHTHS = 8
"""Number of folds; one, an eighth of the training samples, is held out to choose the strength."""

HELD_OUT = 1000
"""Folds are held out in turn until at least this many samples have been held out."""

MOST_FOLDS = 4
"""Largest number of folds that are held out in turn."""

WITHOUT_HELD_OUT = 1e-2
"""Strength used with fewer than eight training samples."""

TOLERANCE = 1e-4
"""A fit has converged if the norm of its gradient is at most this share of the norm at zero weights."""

FINAL_TOLERANCE = 1e-5
"""As `TOLERANCE`, for the stop of the fit to all samples; fits that choose the strength stop at `TOLERANCE`."""


@dataclass(frozen=True)
class Solution:
    """Result of a fit: weights for scaled columns.

    Attributes:
        weight: float64 `[classes, F]`.
        bias: float64 `[classes]`.
        iterations: number of iterations of the solver.
        gradient: norm of the gradient, as a share of the norm at zero weights.
        converged: `gradient` is at most `TOLERANCE`.
    """

    weight: Tensor
    bias: Tensor
    iterations: int
    gradient: float
    converged: bool


@dataclass(frozen=True)
class _Chosen:
    """Best strength so far, with its held-out accuracy and cross-entropy, and whether its fits have converged."""

    strength: float = WITHOUT_HELD_OUT
    accuracy: float = -1.0
    loss: float = 0.0
    converged: bool = True


@dataclass(frozen=True)
class Score:
    """Mean cross-entropy and share of correctly classified samples."""

    loss: float
    accuracy: float


class ConvexSolver(ABC):
    """Fits a readout per strength to seven eighths of the training part, then one with the best strength to all of it.

    The best strength has the highest accuracy on the held-out eighth; of equal ones, the lowest cross-entropy. Small
    training parts are cross-validated: up to `MOST_FOLDS` eighths are held out in turn, until at least `HELD_OUT`
    samples have been held out.

    Args:
        source: features of the training part.
        labels: int64 `[N]`.
        seed: determines the held-out samples.
        transform: maps weights and biases to those that the readout computes with; None for the identity.
        start: weights `[classes, F]` and biases `[classes]` for scaled columns to begin from; None for zeros. The
            solution does not depend on them.
    """

    name: ClassVar[Literal["logistic", "ridge"]]
    kind = "readout fit"

    def __init__(
        self,
        source: FeatureSource,
        labels: Tensor,
        classes: int,
        seed: int,
        transform: ReadoutTransform | None = None,
        start: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        self.columns = Columns.of(source, labels)
        self.classes, self._transform = classes, transform
        size = len(labels) // EIGHTHS
        order = torch.randperm(len(labels), generator=generator(seed, "readout", "held out"))
        # per fold, 1 for the samples that are fitted
        self._folds = [
            torch.ones(len(labels), dtype=torch.float64)
            .index_fill_(0, order[fold * size : (fold + 1) * size], 0)
            .to(labels.device)
            for fold in range(min(MOST_FOLDS, -(-HELD_OUT // size)) if size else 0)
        ]
        self.strengths = STRENGTHS if self._folds else (WITHOUT_HELD_OUT,)
        zeros = self.columns.mean.new_zeros(classes, len(self.columns)), self.columns.mean.new_zeros(classes)
        first = zeros if start is None else (start[0].to(zeros[0]), start[1].to(zeros[1]))
        self._last = [first for _ in self._folds]
        self._best, self._chosen = first, _Chosen()
        self._final: Solution | None = None
        self._train_accuracy = 0.0

    @property
    def steps(self) -> int:
        """Number of steps: one per strength, and the fit to all samples."""
        return len(self.strengths) + 1

    @abstractmethod
    def solve(
        self,
        strength: float,
        fitted: Tensor,
        start: tuple[Tensor, Tensor],
        stopped: Callable[[], bool],
        tolerance: float = TOLERANCE,
    ) -> Solution:
        """Fit the samples with `fitted` = 1 (others: 0; float64 `[N]`) with one strength, starting at `start`."""

    def step(self, number: int, stopped: Callable[[], bool] = never) -> dict[str, float | bool | str]:
        """Fit strength `number`, or in the last step the best strength to all samples; return the metrics."""
        strength = self.strengths[number] if number < len(self.strengths) else self._chosen.strength
        if number == len(self.strengths):
            everything = torch.ones(len(self.columns.labels), dtype=torch.float64, device=self.columns.mean.device)
            self._final = self.solve(strength, everything, self._best, stopped, FINAL_TOLERANCE)
            self._train_accuracy = self._scores(self._final, everything).accuracy
            return _line("all", strength, [self._final]) | {"train_accuracy": self._train_accuracy}
        if not self._folds:
            self._chosen = _Chosen(strength)
            return _line("none", strength, [])
        solutions = [
            self.solve(strength, fitted, last, stopped) for fitted, last in zip(self._folds, self._last, strict=True)
        ]
        self._last = [(solution.weight, solution.bias) for solution in solutions]
        pairs = list(zip(solutions, self._folds, strict=True))
        fitted = mean_score([self._scores(solution, fold) for solution, fold in pairs])
        held_out = mean_score([self._scores(solution, 1 - fold, plain=True) for solution, fold in pairs])
        line = _line("seven eighths", strength, solutions)
        if (held_out.accuracy, -held_out.loss) > (self._chosen.accuracy, -self._chosen.loss):
            self._best = self._last[0]
            self._chosen = _Chosen(strength, held_out.accuracy, held_out.loss, bool(line["converged"]))
        return line | {
            "train_accuracy": fitted.accuracy,
            "held_out_accuracy": held_out.accuracy,
            "held_out_loss": held_out.loss,
        }

    def _scores(self, solution: Solution, weights: Tensor, *, plain: bool = False) -> Score:
        """Compute loss and accuracy of the samples with `weights` = 1; `plain`: of version 0, else of all versions."""
        weight, bias = self.columns.folded(solution.weight, solution.bias)
        loss = correct = total = 0.0
        for block in self.columns.blocks():
            if plain and block.version:
                break
            counted = weights[block.rows]
            log_p = torch.addmm(bias, block.x, weight.T).double().log_softmax(dim=1)
            loss -= float(log_p.gather(1, block.y[:, None])[:, 0] @ counted)
            correct += float((log_p.argmax(dim=1) == block.y).double() @ counted)
            total += float(counted.sum())
        return Score(loss / total, correct / total)

    @property
    def readout(self) -> Readout:
        assert self._final is not None, "the readout is there after the last step"
        return Readout(*self.columns.folded(self._final.weight, self._final.bias), self._transform)

    def report(self) -> ReadoutReport:
        assert self._final is not None, "the report is there after the last step"
        return ReadoutReport(
            solver=self.name,
            strength=self._chosen.strength,
            iterations=self._final.iterations,
            gradient=self._final.gradient,
            converged=self._chosen.converged and self._final.converged,
            train_accuracy=self._train_accuracy,
            held_out_accuracy=self._chosen.accuracy if self._folds else None,
        )

    def state(self) -> dict[str, Tensor]:
        """Return the last solution of each fold, the best solution of the first fold, and the best strength."""
        state = {"best.weight": self._best[0], "best.bias": self._best[1]}
        for fold, (weight, bias) in enumerate(self._last):
            state |= {f"last.{fold}.weight": weight, f"last.{fold}.bias": bias}
        chosen = torch.tensor([float(value) for value in astuple(self._chosen)], dtype=torch.float64)
        return {name: value.clone() for name, value in state.items()} | {"chosen": chosen}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Load a `state()`; the next `step` continues from it."""
        like = self.columns.mean
        self._best = state["best.weight"].to(like), state["best.bias"].to(like)
        self._last = [
            (state[f"last.{fold}.weight"].to(like), state[f"last.{fold}.bias"].to(like))
            for fold in range(len(self._folds))
        ]
        strength, accuracy, loss, converged = state["chosen"].tolist()
        self._chosen = _Chosen(strength, accuracy, loss, bool(converged))


def mean_score(scores: Sequence[Score]) -> Score:
    """Return the mean loss and accuracy over folds, whose held-out parts have equal sizes."""
    return Score(mean(score.loss for score in scores), mean(score.accuracy for score in scores))


def _line(samples: str, strength: float, solutions: Sequence[Solution]) -> dict[str, float | bool | str]:
    return {
        "samples": samples,
        "strength": strength,
        "iterations": max((solution.iterations for solution in solutions), default=0),
        "gradient": max((solution.gradient for solution in solutions), default=0.0),
        "converged": all(solution.converged for solution in solutions),
    }
