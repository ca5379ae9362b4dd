"""The paper's readout: Adam and dropout for a fixed number of epochs, too few to converge."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from scff_hw.core.random import generator
from scff_hw.documents import ReadoutReport
from scff_hw.recipes.schema import BackpropRecipe, ReadoutRecipe
from scff_hw.training.features import FeatureSource
from scff_hw.training.readout.linear import Readout, ReadoutTransform
from scff_hw.training.readout.solver import never


@dataclass
class ReadoutEpoch:
    """Metrics of one epoch: mean loss and accuracy, 0..1, on the training batches (with dropout)."""

    loss: float
    train_accuracy: float


class PaperSolver:
    """A linear classifier with dropout on its input, cross-entropy and Adam (paper, appendix G); one step is an epoch.

    Its gradient is explicit: for softmax regression it is `(softmax(z) - one_hot)^T x / N`.
    """

    kind = "readout"

    def __init__(
        self,
        source: FeatureSource,
        labels: Tensor,
        features: int,
        classes: int,
        recipe: ReadoutRecipe,
        seed: int,
        transform: ReadoutTransform | None = None,
    ) -> None:
        self._source, self._labels, self._transform = source, labels, transform
        self.weight, self.bias = (value.to(labels.device) for value in initial_readout(features, classes, seed))
        self.recipe, self.seed = recipe, seed
        self._adam = torch.optim.Adam([self.weight, self.bias], lr=recipe.learning_rate, fused=True)
        self._train_accuracy = 0.0

    @property
    def steps(self) -> int:
        """Number of the recipe's epochs."""
        return self.recipe.epochs

    @property
    def readout(self) -> Readout:
        return Readout(self.weight, self.bias, self._transform)

    def step(self, number: int, stopped: Callable[[], bool] = never) -> dict[str, float | bool | str]:
        """Train one epoch and return its metrics; `stopped` is not called, since an epoch is short."""
        metrics = self.train_epoch(self._source, self._labels, number)
        self._train_accuracy = metrics.train_accuracy
        return {"loss": metrics.loss, "train_accuracy": metrics.train_accuracy}

    def report(self) -> ReadoutReport:
        return ReadoutReport(
            solver="paper", iterations=self.recipe.epochs, gradient=None, train_accuracy=self._train_accuracy
        )

    def train_epoch(self, source: FeatureSource, labels: Tensor, epoch: int) -> ReadoutEpoch:
        """Train on all samples once, in a new random order; `labels` is int64 `[N]`."""
        for group in self._adam.param_groups:
            group["lr"] = learning_rate_at(self.recipe, epoch)
        draw = generator(self.seed, "readout", epoch)
        order = torch.randperm(len(labels), generator=draw)
        keep = 1 - self.recipe.dropout
        loss = torch.zeros((), device=labels.device)
        correct = torch.zeros((), dtype=torch.int64, device=labels.device)
        for indices in order.to(labels.device).split(self.recipe.batch_size):
            x, y = source.batch(indices, draw), labels[indices]
            if keep < 1:
                x *= _dropout_mask(x.shape, self.recipe.dropout, draw).to(x.device)
            log_p = torch.addmm(self.bias, x, self.weight.T, alpha=1 / keep).log_softmax(dim=1)
            loss += F.nll_loss(log_p, y, reduction="sum")
            correct += (log_p.argmax(dim=1) == y).sum()
            error = log_p.exp()
            error[torch.arange(len(y)), y] -= 1
            error /= len(y)
            self.weight.grad, self.bias.grad = (error.T @ x).div_(keep), error.sum(dim=0)
            self._adam.step()
        return ReadoutEpoch(float(loss) / len(labels), int(correct) / len(labels))

    def state(self) -> dict[str, Tensor]:
        """Return the weights, the biases and Adam's state."""
        state = {"weight": self.weight, "bias": self.bias}
        for name, parameter in (("weight", self.weight), ("bias", self.bias)):
            state |= {f"{name}.{key}": value for key, value in self._adam.state[parameter].items()}
        return {name: value.clone() for name, value in state.items()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Load a `state()`; the next `step` continues from it."""
        for name, parameter in (("weight", self.weight), ("bias", self.bias)):
            parameter.copy_(state[name])
            prefix = f"{name}."
            self._adam.state[parameter] = {
                key.removeprefix(prefix): value.clone() for key, value in state.items() if key.startswith(prefix)
            }


def initial_readout(features: int, classes: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw weights `[classes, features]` and biases `[classes]`, uniform in ±1 / sqrt(features), as PyTorch does."""
    draw = generator(seed, "readout", "init")
    bound = 1 / math.sqrt(features)
    weight = (torch.rand(classes, features, generator=draw) * 2 - 1).mul_(bound)
    return weight, (torch.rand(classes, generator=draw) * 2 - 1).mul_(bound)


def learning_rate_at(recipe: ReadoutRecipe | BackpropRecipe, epoch: int) -> float:
    """Return the learning rate of an epoch (0-based), halved at `recipe.halve_at_percent` of the epochs."""
    halvings = sum(epoch >= int(recipe.epochs * percent / 100) for percent in recipe.halve_at_percent)
    return recipe.learning_rate * 0.5**halvings


def _dropout_mask(shape: torch.Size, dropout: float, draw: torch.Generator) -> Tensor:
    """Draw a bool mask, False with probability `dropout` (to 1 part in 65 536).

    Four 16-bit draws from each 64-bit random number: fifteen times faster than `bernoulli_` with a generator.
    """
    limits = torch.iinfo(torch.int64)
    drawn = torch.empty(-(-shape.numel() // 4), dtype=torch.int64).random_(limits.min, None, generator=draw)
    return (drawn.view(torch.int16)[: shape.numel()] >= round(65536 * dropout) - 32768).view(shape)
