"""The library's features and logits of a finished run, which exported graphs are compared with."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from scff_hw.backends.float import FloatBackend
from scff_hw.core.pairs import Stream
from scff_hw.core.rules import rule_class
from scff_hw.recipes import Recipe
from scff_hw.training.build import build_network, frozen, weights_of
from scff_hw.training.finished import FinishedRun


def needs_label(recipe: Recipe) -> bool:
    """Whether the network's input contains a label, which is neutral at inference."""
    return rule_class(recipe.training.rule.name).needs_labels


def float_answers(run: FinishedRun, x: Tensor | Stream) -> tuple[Tensor, Tensor]:
    """Return the library's results in float32 for samples `[N, ...]`, or for sequences as a stream.

    Returns:
        Features `[N, F]` and logits `[N, classes]`.
    """
    weight, bias = run.readout
    with torch.no_grad():
        features = run.network.features(x, run.read_layers)
        return features, torch.addmm(bias, features, weight.T)


def rounding_of_float32(run: FinishedRun, x: Stream) -> float:
    """Largest difference of the library's logits in float32 from those in float64, relative to the largest logit."""
    network = build_network(frozen(run.recipe), FloatBackend("float64"), weights_of(run.network))
    weight, bias = run.readout
    with torch.no_grad():
        features = network.features(replace(x, positive=x.positive.double()), run.read_layers)
        exact = torch.addmm(bias.double(), features, weight.double().T)
    scale = float(exact.abs().max()) or 1.0
    return float((float_answers(run, x)[1] - exact).abs().max()) / scale
