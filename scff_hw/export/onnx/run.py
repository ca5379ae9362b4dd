"""A finished run as the exporters read it: its network, its readout and its test data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from scff_hw.backends.float import FloatBackend
from scff_hw.core.network import Network
from scff_hw.core.rules import rule_class
from scff_hw.core.streams import Stream
from scff_hw.errors import CheckpointError, MissingPartError, UsageError
from scff_hw.recipes import Recipe, load_recipe
from scff_hw.training.build import build_network, frozen, weights_of
from scff_hw.training.calibration import load_formats
from scff_hw.training.features import PlainSamples
from scff_hw.training.run_context import plain_samples, run_dataset
from scff_hw.training.run_folder import (
    CHECKPOINT,
    FORMATS,
    RECIPE,
    WEIGHTS,
    Checkpoint,
    Position,
    RunFolder,
)

if TYPE_CHECKING:
    from scff_hw.backends.fixed import FixedBackend


@dataclass(frozen=True)
class FixedRun:
    """What a run in fixed point has besides.

    Attributes:
        backend: with the formats of each layer.
        network: its layers as the run left them, integers with all of their bits.
        readout_frac: fraction bits of the readout's weights.
    """

    backend: FixedBackend
    network: Network
    readout_frac: int


@dataclass(frozen=True)
class FinishedRun:
    """A run that was trained to its end.

    Attributes:
        network: the run's weights on the float backend.
        weight, bias: of the readout as inference has them, `[classes, F]` and `[classes]`.
        layers: 0-based, those whose features the readout reads.
        test: the part of the data that its accuracy was measured on.
        learned: the part that its hidden layers learned from.
        accuracy: the run's own, 0..1.
        fixed: None for a run on another backend.
    """

    path: Path
    recipe: Recipe
    seed: int
    backend: str
    versions: dict[str, str]
    profile: str | None
    accuracy: float
    measured_on: str
    network: Network
    weight: Tensor
    bias: Tensor
    layers: tuple[int, ...]
    test: PlainSamples
    learned: PlainSamples
    fixed: FixedRun | None


def finished_run(path: Path, data_dir: Path | None = None, *, feed_forward: str = "") -> FinishedRun:
    """Read a run folder that `scff-hw train` finished.

    Args:
        feed_forward: what is made of networks without recurrent layers only, for the refusal of others.

    Raises:
        UsageError: a recurrent network, where such is refused.
        CheckpointError: not a run, not finished, or its weights are not those of its recipe.
        DataError: its data set is not there.
        MissingPartError: a run in fixed point, and brevitas is not installed.
    """
    folder = RunFolder(path)
    details = folder.finished("exported")
    recipe = load_recipe(str(path / RECIPE))
    seed, backend = details.seed, details.backend
    if recipe.data.has_sequences and feed_forward:
        raise UsageError(f"{feed_forward} are of feed-forward layers. Got the recurrent layer of {path} instead.")
    summary = folder.summary()
    tensors = folder.tensors(WEIGHTS)
    try:
        network = build_network(frozen(recipe), FloatBackend(), tensors)
        weight, bias = tensors["readout.weight"], tensors["readout.bias"]
        fixed = _fixed(path, folder, recipe, seed, tensors) if backend == "fixed" else None
        if fixed is not None:
            weight, bias = fixed.backend.readout(weight, bias)
    except (CheckpointError, MissingPartError):
        raise
    except (KeyError, RuntimeError, UsageError) as error:
        raise CheckpointError(
            f"The weights in {path / WEIGHTS} are not those of the recipe beside them ({error})."
        ) from None
    dataset = run_dataset(folder, recipe, data_dir)
    return FinishedRun(
        path=path,
        recipe=recipe,
        seed=seed,
        backend=backend,
        versions=details.versions,
        profile=details.profile,
        accuracy=summary.metrics.test_accuracy,
        measured_on=summary.measured_on,
        network=network,
        weight=weight,
        bias=bias,
        layers=tuple(number - 1 for number in recipe.readout.layers),
        test=plain_samples(recipe, dataset, "test"),
        learned=plain_samples(recipe, dataset, recipe.data.learn_split),
        fixed=fixed,
    )


def needs_label(recipe: Recipe) -> bool:
    """Whether the network reads a label beside the sample; at inference a neutral one."""
    return rule_class(recipe.training.rule.name).needs_labels


def float_answers(run: FinishedRun, x: Tensor | Stream) -> tuple[Tensor, Tensor]:
    """What the library itself gives in float32 for samples `[N, ...]`, or sequences as a stream.

    Returns:
        Features `[N, F]` and logits `[N, classes]`.
    """
    with torch.no_grad():
        features = run.network.features(x, run.layers)
        return features, torch.addmm(run.bias, features, run.weight.T)


def rounding_of_float32(run: FinishedRun, x: Stream) -> float:
    """How far the library's logits in float32 are from those in float64, over the largest of these."""
    network = build_network(frozen(run.recipe), FloatBackend("float64"), weights_of(run.network))
    with torch.no_grad():
        features = network.features(replace(x, positive=x.positive.double()), run.layers)
        exact = torch.addmm(run.bias.double(), features, run.weight.double().T)
    scale = float(exact.abs().max()) or 1.0
    return float((float_answers(run, x)[1] - exact).abs().max()) / scale


def _fixed(path: Path, folder: RunFolder, recipe: Recipe, seed: int, tensors: dict[str, Any]) -> FixedRun:
    from scff_hw.backends.fixed.formats.choose import READOUT_BITS
    from scff_hw.backends.fixed.formats.formats import fraction_bits

    backend = load_formats(folder.read_text(FORMATS), recipe, seed, str(path / FORMATS))
    network = build_network(recipe, backend, tensors)
    Checkpoint(Position("done"), folder.tensors(CHECKPOINT)).restore(network)
    frac = fraction_bits(float(tensors["readout.weight"].abs().max()), READOUT_BITS)
    return FixedRun(backend, network, frac)
