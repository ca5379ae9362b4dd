"""Test accuracy of a finished run, from its files."""

from __future__ import annotations

import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scff_hw.backends import FloatBackend
from scff_hw.core.network import Network
from scff_hw.core.random import stream_seed
from scff_hw.files import AnyPath, path_or_none
from scff_hw.hardware import Profile
from scff_hw.recipes import Recipe
from scff_hw.training.arguments import check_integer, check_profile
from scff_hw.training.build import build_network, frozen
from scff_hw.training.features import feature_source
from scff_hw.training.finished import FinishedRun, checking_weights
from scff_hw.training.progress import Progress, SilentProgress
from scff_hw.training.readout import Readout
from scff_hw.training.run_context import RunContext, check_data
from scff_hw.training.run_folder import CHECKPOINT, INITIAL, WEIGHTS, Checkpoint, Position
from scff_hw.training.session import context_of, setting_of

REPEATS = 3
"""Default number of simulated chips that `evaluate` programs, or of repeated measurements of an analog run's chip."""


def evaluate(
    run: AnyPath,
    *,
    profile: Profile | None = None,
    repeats: int = REPEATS,
    data_dir: AnyPath | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure the test accuracy of a finished run from its files, with trained and with untrained hidden layers.

    Args:
        profile: hardware to program the hidden weights onto (see `scff_hw.hardware.programming`); readouts stay.
        repeats: with `profile`, the number of chips that are programmed and measured; for an analog run, the number
            of measurements ("readings") of its own chip, whose reads are noisy.

    Returns:
        `metrics`, accuracies 0..1. With repeats also `repeats` and `repeated` ("chip" or "reading"); `metrics` are
        then means, `std` sample standard deviations (None for one value), `values` the accuracies per repeat. With
        `profile`, `clipped_weights` is the share of hidden weights clipped at a bound of their devices, 0..1, mean
        over chips.

    Raises:
        CheckpointError: not a finished run, its files are damaged, or its weights do not match its recipe.
        DataError: the run's data set is missing, or differs from that of training.
        UsageError: `profile` is not one of analog devices, or `repeats` is not a positive integer.
    """
    check_profile(profile, "run_costs")
    check_integer("number of repeats", repeats, 1)
    run, data_dir = Path(run), path_or_none(data_dir)
    finished = FinishedRun.open(run, data_dir, purpose="evaluated")
    recipe, backend, target_profile = finished.recipe, finished.backend, profile
    if target_profile is not None:
        from scff_hw.backends.analog import AnalogBackend

        backend, recipe = AnalogBackend.name, _on_cpu(frozen(recipe))
        # `_programmed` replaces the float backend, once per chip
        setting = setting_of(recipe, finished.seed, FloatBackend.name, None, data_dir)
    else:
        profile = finished.profile
        setting = setting_of(recipe, finished.seed, backend, profile, data_dir)
    check_data(setting.data, finished.details.data, run)
    context = context_of(setting, finished.folder, progress or SilentProgress(), new=False)
    about = {"run": str(run), "recipe": recipe.name, "seed": finished.seed, "backend": backend}
    about |= {} if profile is None else {"profile": profile.name}
    with torch.no_grad():
        if target_profile is not None:
            return about | _programmed(context, finished, target_profile, repeats)
        if context.backend.noisy_reads:
            return about | _read(context, finished, repeats)
        return about | {
            "metrics": {
                key: _accuracy(context, finished, name, _state(context, finished, name))[0]
                for name, key in _weight_files(recipe)
            }
        }


def _state(context: RunContext, run: FinishedRun, name: str) -> dict[str, Tensor] | None:
    """Return the full state of the trained arrays if the weights alone do not determine it; else None."""
    return run.tensors(CHECKPOINT) if context.backend.state_is_truth and name == WEIGHTS else None


def _on_cpu(recipe: Recipe) -> Recipe:
    """Return a copy of `recipe` on the CPU in float32, as the device simulator requires."""
    training = recipe.training.model_copy(update={"device": "cpu", "dtype": "float32"})
    return recipe.model_copy(update={"training": training})


def _weight_files(recipe: Recipe) -> list[tuple[str, str]]:
    """Return the weight files to measure as (file name, key of the accuracy)."""
    both = [(WEIGHTS, "test_accuracy"), (INITIAL, "untrained_test_accuracy")]
    return both if recipe.controls.untrained else both[:1]


def _programmed(context: RunContext, run: FinishedRun, profile: Profile, repeats: int) -> dict[str, Any]:
    """Measure a run's weights on `repeats` chips; the first chip's devices are drawn from the run's seed."""
    from scff_hw.backends.analog.programmed import ProgrammedBackend, clipped_share

    values: dict[str, list[float]] = {key: [] for _, key in _weight_files(context.recipe)}
    clipped = []
    for repeat in range(repeats):
        seed = stream_seed(context.seed, "repeat", repeat) if repeat else context.seed
        chip = replace(context, backend=ProgrammedBackend(profile, seed))
        for name, key in _weight_files(context.recipe):
            accuracy, network = _accuracy(chip, run, name)
            values[key].append(accuracy)
            if name == WEIGHTS:
                clipped.append(clipped_share(network))
    return _repeated("chip", values) | {"clipped_weights": statistics.mean(clipped)}


def _read(context: RunContext, run: FinishedRun, repeats: int) -> dict[str, Any]:
    """Measure a run's own chip `repeats` times, each with new read noise."""
    values: dict[str, list[float]] = {key: [] for _, key in _weight_files(context.recipe)}
    for _ in range(repeats):
        for name, key in _weight_files(context.recipe):
            values[key].append(_accuracy(context, run, name, _state(context, run, name))[0])
    return _repeated("reading", values)


def _repeated(what: str, values: dict[str, list[float]]) -> dict[str, Any]:
    repeats = len(next(iter(values.values())))
    return {
        "repeated": what,
        "repeats": repeats,
        "metrics": {key: statistics.mean(accuracies) for key, accuracies in values.items()},
        "std": {key: statistics.stdev(accuracies) if repeats > 1 else None for key, accuracies in values.items()},
        "values": values,
    }


def _accuracy(
    context: RunContext, run: FinishedRun, name: str, arrays: dict[str, Tensor] | None = None
) -> tuple[float, Network]:
    """Return the test accuracy of weight file `name` on the context's backend, and the measured network."""
    recipe, tensors = context.recipe, run.tensors(name)
    with checking_weights(run.path / name):
        network = build_network(recipe, context.backend, tensors)
        if arrays is not None:
            Checkpoint(Position("done"), arrays).restore(network)
        weight, bias = (tensors[f"readout.{name}"].to(context.device) for name in ("weight", "bias"))
        if weight.shape != (context.classes, recipe.readout_features) or bias.shape != (context.classes,):
            raise KeyError(f"the readout has shapes {tuple(weight.shape)} and {tuple(bias.shape)}")
        readout = Readout(weight, bias, context.readout_transform)
    layers = [number - 1 for number in recipe.readout.layers]
    part = context.plain("test")
    source = feature_source(network, layers, part, None, context.progress, "test features")
    return readout.accuracy(source, part.labels), network
