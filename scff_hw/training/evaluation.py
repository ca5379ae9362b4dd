"""A finished run, measured again from its files."""

from __future__ import annotations

import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scff_hw.core.network import Network
from scff_hw.core.random import stream_seed
from scff_hw.hardware import Profile
from scff_hw.recipes import Recipe
from scff_hw.training.build import build_network, frozen
from scff_hw.training.features import feature_source
from scff_hw.training.finished import FinishedRun, checking_weights
from scff_hw.training.progress import Progress, SilentProgress
from scff_hw.training.readout import Readout
from scff_hw.training.run_context import RunContext, check_data
from scff_hw.training.run_folder import CHECKPOINT, INITIAL, WEIGHTS, Checkpoint, Position
from scff_hw.training.session import context_of, setting_of

REPEATS = 3
"""Chips that `evaluate` programs with a run's weights, or readings of an analog run, where nothing else is asked."""


def evaluate(
    run: Path,
    *,
    profile: Profile | None = None,
    repeats: int = REPEATS,
    data_dir: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure a finished run again from its files: hidden weights and readouts, trained and untrained.

    Args:
        profile: program the weights onto this hardware instead, as `scff_hw.hardware.programming` says, and keep the
            readouts.
        repeats: with `profile`, how many chips are programmed and measured; of an analog run, how often its own chip,
            whose reads are noisy, is read.

    Returns:
        `metrics`, accuracies 0..1. Where there are repeats also `repeats` and `repeated`, chip or reading; `metrics`
        are then means, `std` their sample standard deviations (null of one), `values` those of each. With `profile`
        `clipped_weights` is the share of hidden weights that were cut at a bound of their devices, 0..1, the mean over
        chips.

    Raises:
        CheckpointError: not a finished run, its files are damaged, or its weights are not those of its recipe.
        DataError: its data set is not there, or is another.
    """
    opened = FinishedRun.open(run, data_dir, purpose="evaluated")
    recipe, backend, profile_given = opened.recipe, opened.backend, profile
    if profile is not None:
        backend, recipe = "analog", _on_cpu(frozen(recipe))
    else:
        profile = opened.profile
    kept = ("float", None) if profile_given is not None else (backend, profile)
    setting = setting_of(recipe, opened.seed, *kept, data_dir)
    check_data(setting.data, opened.details.data, run)
    context = context_of(setting, opened.folder, progress or SilentProgress(), new=False)
    found = {"run": str(run), "recipe": recipe.name, "seed": opened.seed, "backend": backend}
    found |= {} if profile is None else {"profile": profile.name}
    with torch.no_grad():
        if profile_given is not None:
            return found | _programmed(context, opened, profile_given, repeats)
        if context.backend.noisy_reads:
            return found | _read(context, opened, repeats)
        return found | {
            "metrics": {
                key: _accuracy(context, opened, name, _state(context, opened, name))[0]
                for name, key in _measured(recipe)
            }
        }


def _state(context: RunContext, run: FinishedRun, name: str) -> dict[str, Tensor] | None:
    """The full state of the arrays after training, where weights are not all of it; None for what was not trained."""
    return run.tensors(CHECKPOINT) if context.backend.state_is_truth and name == WEIGHTS else None


def _on_cpu(recipe: Recipe) -> Recipe:
    """A recipe with what simulated devices compute in."""
    training = recipe.training.model_copy(update={"device": "cpu", "dtype": "float32"})
    return recipe.model_copy(update={"training": training})


def _measured(recipe: Recipe) -> list[tuple[str, str]]:
    """Files of weights, and what the accuracy of each is called."""
    both = [(WEIGHTS, "test_accuracy"), (INITIAL, "untrained_test_accuracy")]
    return both if recipe.controls.untrained else both[:1]


def _programmed(context: RunContext, run: FinishedRun, profile: Profile, repeats: int) -> dict[str, Any]:
    """Accuracies of a run's weights on `repeats` chips; the first has the devices of the run's own seed."""
    from scff_hw.backends.analog.programmed import ProgrammedBackend, clipped_share

    values: dict[str, list[float]] = {key: [] for _, key in _measured(context.recipe)}
    clipped = []
    for repeat in range(repeats):
        seed = stream_seed(context.seed, "repeat", repeat) if repeat else context.seed
        chip = replace(context, backend=ProgrammedBackend(profile, seed))
        for name, key in _measured(context.recipe):
            accuracy, network = _accuracy(chip, run, name)
            values[key].append(accuracy)
            if name == WEIGHTS:
                clipped.append(clipped_share(network))
    return _repeated("chip", values) | {"clipped_weights": statistics.mean(clipped)}


def _read(context: RunContext, run: FinishedRun, repeats: int) -> dict[str, Any]:
    """Accuracies of a run's own chip, read `repeats` times: its reads are noisy."""
    values: dict[str, list[float]] = {key: [] for _, key in _measured(context.recipe)}
    for _ in range(repeats):
        for name, key in _measured(context.recipe):
            values[key].append(_accuracy(context, run, name, _state(context, run, name))[0])
    return _repeated("reading", values)


def _repeated(what: str, values: dict[str, list[float]]) -> dict[str, Any]:
    repeats = len(next(iter(values.values())))
    return {
        "repeated": what,
        "repeats": repeats,
        "metrics": {key: statistics.mean(each) for key, each in values.items()},
        "std": {key: statistics.stdev(each) if repeats > 1 else None for key, each in values.items()},
        "values": values,
    }


def _accuracy(
    context: RunContext, run: FinishedRun, name: str, arrays: dict[str, Tensor] | None = None
) -> tuple[float, Network]:
    """Accuracy of one of a run's files of weights on the context's backend, and the network that was measured."""
    recipe, tensors = context.recipe, run.tensors(name)
    with checking_weights(run.path / name):
        network = build_network(recipe, context.backend, tensors)
        if arrays is not None:
            Checkpoint(Position("done"), arrays).restore(network)
        readout = Readout(
            recipe.readout_features, context.classes, recipe.readout, 0, context.device, context.readout_transform
        )
        readout.weight.copy_(tensors["readout.weight"])
        readout.bias.copy_(tensors["readout.bias"])
    layers = [number - 1 for number in recipe.readout.layers]
    part = context.plain("test")
    source = feature_source(network, layers, part, None, context.progress, "test features")
    return readout.accuracy(source, part.labels), network
