"""A run from its recipe to its summary: hidden layers, readouts, controls, each resumable."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scff_hw.backends import make_backend
from scff_hw.core.memory import large_blocks_kept
from scff_hw.core.network import Network
from scff_hw.core.random import stream_seed
from scff_hw.core.rules import rule_class
from scff_hw.errors import CheckpointError, RecipeError, UsageError
from scff_hw.hardware import Profile, dump_profile, load_profile
from scff_hw.recipes import Recipe, dump_recipe, load_recipe
from scff_hw.training.build import build_network, frozen, untrained_weights, weights_of
from scff_hw.training.calibration import calibrated_backend, dump_formats, load_formats
from scff_hw.training.controls import learn_backprop
from scff_hw.training.features import feature_source
from scff_hw.training.hidden import hidden_stages, learn_hidden
from scff_hw.training.progress import Progress, SilentProgress
from scff_hw.training.readout import Readout
from scff_hw.training.run_context import RunContext, StopRequest, augmentation_of, plain_samples, recipe_dataset
from scff_hw.training.run_folder import (
    CHECKPOINT,
    FORMATS,
    INITIAL,
    PROFILE,
    RECIPE,
    RUN,
    SUMMARY,
    WEIGHTS,
    Checkpoint,
    Position,
    RunFolder,
    read_tensors,
    write_json,
    write_tensors,
)

REPEATS = 3
"""Chips that `evaluate` programs with a run's weights where nothing else is asked."""


def train(
    recipe: Recipe,
    out: Path,
    *,
    seed: int = 0,
    backend: str = "float",
    profile: Profile | None = None,
    data_dir: Path | None = None,
    resume: bool = False,
    command: str = "",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run a recipe and return its summary, which is also written to `out/summary.json`.

    `profile` is the hardware of a backend that simulates some, None for its default. The test part of the data is only
    ever measured on. A run that was killed continues from its last checkpoint with `resume`.

    The same call, or a resumed run, ends in the same weights bit for bit on the backends float (same device and number
    of threads) and fixed. The analog backend repeats initial weights, order and devices, but draws pulses and noise of
    reading anew: its results repeat statistically (see `scff_hw.backends.analog`).

    Raises:
        UsageError: the recipe, the backend, the data or the folder cannot be used.
        DivergenceError: learning diverged.
        KeyboardInterrupt: a stop was requested (Ctrl-C, SIGTERM); the run is saved.
    """
    progress = progress or SilentProgress()
    folder = RunFolder(out)
    context, documents = _context(recipe, folder, seed, backend, profile, data_dir, progress)
    stop = context.stop
    used = getattr(context.backend, "profile", None)
    if resume:
        checkpoint = _resume(folder, recipe, seed, backend, used)
    else:
        details = {"recipe": recipe.name, "seed": seed, "backend": backend, "command": command}
        if used is not None:
            details["profile"] = used.name
        started = datetime.now(UTC).isoformat(timespec="seconds")
        documents |= {RECIPE: dump_recipe(recipe)} | ({} if used is None else {PROFILE: dump_profile(used)})
        folder.create(documents, details | {"status": "running", "started": started, "duration_s": 0.0})
        checkpoint = None
    began = time.monotonic() - (folder.read_json(RUN)["duration_s"] if resume else 0.0)
    status = "failed"
    try:
        with stop.listening(), torch.no_grad(), large_blocks_kept():
            summary = _run_stages(context, checkpoint)
        status = "done"
    except KeyboardInterrupt:
        status = "interrupted"
        raise
    finally:
        folder.close()
        folder.describe({"status": status, "duration_s": round(time.monotonic() - began, 3)})
    return summary


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
        repeats: with `profile`, how many chips are programmed and measured.

    Returns:
        `metrics`, accuracies 0..1. With `profile` also `repeats`; `metrics` are then means, `std` their sample standard
        deviations (null of one), `values` each chip's; `clipped_weights` is the share of hidden weights that were cut
        at a bound of their devices, 0..1, the mean over chips.

    Raises:
        CheckpointError: not a finished run, or its weights are not those of its recipe.
        DataError: its data set is not there.
    """
    folder = RunFolder(run)
    details = folder.read_json(RUN)
    recipe = load_recipe(str(run / RECIPE))
    backend, own, profile_given = details["backend"], details.get("profile"), profile
    if profile is not None:
        backend, recipe = "analog", _on_cpu(frozen(recipe))
    elif own is not None:
        profile = load_profile(run / PROFILE)
    kept = ("float", None) if profile_given is not None else (backend, profile)
    context, _ = _context(recipe, folder, details["seed"], *kept, data_dir, progress or SilentProgress())
    found = {"run": str(run), "recipe": recipe.name, "seed": details["seed"], "backend": backend}
    found |= {} if profile is None else {"profile": profile.name}
    with torch.no_grad():
        if profile_given is not None:
            return found | _programmed(context, run, profile_given, repeats)
        metrics: dict[str, Any] = {}
        for name, key in _measured(recipe):
            tensors, _ = read_tensors(run / name)
            # a chip's weights are restored with all that its devices went through, integers with all of their bits
            in_place = backend in ("analog", "fixed") and name == WEIGHTS
            arrays = read_tensors(run / CHECKPOINT)[0] if in_place else None
            metrics[key] = _accuracy(context, tensors, run / name, arrays)[0]
    return found | {"metrics": metrics}


def _on_cpu(recipe: Recipe) -> Recipe:
    """A recipe with what simulated devices compute in."""
    training = recipe.training.model_copy(update={"device": "cpu", "dtype": "float32"})
    return recipe.model_copy(update={"training": training})


def _measured(recipe: Recipe) -> list[tuple[str, str]]:
    """Files of weights, and what the accuracy of each is called."""
    both = [(WEIGHTS, "test_accuracy"), (INITIAL, "untrained_test_accuracy")]
    return both if recipe.controls.untrained else both[:1]


def _programmed(context: RunContext, run: Path, profile: Profile, repeats: int) -> dict[str, Any]:
    """Accuracies of a run's weights on `repeats` chips; the first has the devices of the run's own seed."""
    from scff_hw.backends.analog.programmed import ProgrammedBackend, clipped_share

    values: dict[str, list[float]] = {key: [] for _, key in _measured(context.recipe)}
    clipped = []
    for repeat in range(repeats):
        seed = stream_seed(context.seed, "repeat", repeat) if repeat else context.seed
        chip = replace(context, backend=ProgrammedBackend(profile, seed))
        for name, key in _measured(context.recipe):
            accuracy, network = _accuracy(chip, read_tensors(run / name)[0], run / name)
            values[key].append(accuracy)
            if name == WEIGHTS:
                clipped.append(clipped_share(network))
    return {
        "repeats": repeats,
        "metrics": {key: statistics.mean(each) for key, each in values.items()},
        "std": {key: statistics.stdev(each) if repeats > 1 else None for key, each in values.items()},
        "values": values,
        "clipped_weights": statistics.mean(clipped),
    }


def _context(
    recipe: Recipe,
    folder: RunFolder,
    seed: int,
    backend: str,
    profile: Profile | None,
    data_dir: Path | None,
    progress: Progress,
) -> tuple[RunContext, dict[str, str]]:
    """What a run works with, and the documents its folder is to hold of how that was made."""
    device = torch.device("cuda" if torch.cuda.is_available() and backend not in ("analog", "fixed") else "cpu")
    if recipe.training.device != "auto":
        device = torch.device(recipe.training.device)
    hardware = make_backend(backend, dtype=recipe.training.dtype, device=str(device), profile=profile, seed=seed)
    rule = rule_class(recipe.training.rule.name)
    if rule.needs_labels and recipe.data.learn_split != "train":
        raise RecipeError(
            f"The rule '{rule.name}' needs labels, so data.learn_split must be train. "
            f"Got '{recipe.data.learn_split}' instead."
        )
    dataset = recipe_dataset(recipe, seed, data_dir)
    documents: dict[str, str] = {}
    weights = untrained_weights(recipe, seed)
    if backend == "fixed":
        if known := folder.read_text(FORMATS):
            hardware = load_formats(known, recipe, seed, str(folder.path / FORMATS))
        else:
            samples = plain_samples(recipe, dataset, recipe.data.learn_split)
            hardware, calibration = calibrated_backend(recipe, weights, samples, seed)
            documents[FORMATS] = dump_formats(calibration)
    network = build_network(recipe, hardware, weights)
    return RunContext(recipe, seed, dataset, hardware, network, folder, progress, device, StopRequest()), documents


def _resume(folder: RunFolder, recipe: Recipe, seed: int, backend: str, profile: Profile | None) -> Checkpoint | None:
    details = folder.read_json(RUN)
    for key, wanted in (("recipe", recipe.name), ("seed", seed), ("backend", backend)):
        if details.get(key) != wanted:
            raise CheckpointError(
                f"The run in {folder.path} has {key} {details.get(key)!r}, so it cannot be resumed with {wanted!r}."
            )
    if (folder.path / RECIPE).read_text(encoding="utf-8") != dump_recipe(recipe):
        raise CheckpointError(
            f"The recipe in {folder.path / RECIPE} is not the one asked for now; resume with the same recipe and --set."
        )
    if profile is not None and folder.read_text(PROFILE) != dump_profile(profile):
        raise CheckpointError(
            f"The hardware profile in {folder.path / PROFILE} is not the one asked for now; "
            "resume with the same --profile."
        )
    return folder.load()


def _run_stages(context: RunContext, checkpoint: Checkpoint | None) -> dict[str, Any]:
    """Every stage in order, from the checkpoint's position on."""
    recipe = context.recipe
    hidden = hidden_stages(recipe)
    readouts = ["scff", "untrained"] if recipe.controls.untrained else ["scff"]
    names = [stage.name for stage in hidden] + [f"readout {kind}" for kind in readouts]
    if recipe.controls.backprop is not None:
        names.append("backprop")
    position = Position(names[0])
    if checkpoint is None:
        context.checkpoint(names[0], 0, 0)
    else:
        position, context.values = checkpoint.position, checkpoint.values
        checkpoint.restore(context.network)
    if position.stage == "done":
        return context.folder.read_json(SUMMARY)
    for index, name in enumerate(names):
        if index < names.index(position.stage):
            continue
        start = position if name == position.stage else Position(name)
        resumed = checkpoint if checkpoint is not None and name == position.stage else None
        began = time.monotonic()
        if index < len(hidden):
            learn_hidden(context, hidden[index], start)
        elif name == "backprop":
            assert recipe.controls.backprop is not None
            with torch.enable_grad():
                learn_backprop(context, recipe.controls.backprop, start, resumed.group("backprop") if resumed else {})
        else:
            _learn_readout(context, name.removeprefix("readout "), start, resumed)
        seconds = context.values.setdefault("seconds", {})
        seconds[name] = round(seconds.get(name, 0.0) + time.monotonic() - began, 3)
        context.extra = dict
        if index + 1 < len(names):
            context.checkpoint(names[index + 1], 0, 0)
    summary = _summary(context)
    write_json(context.folder.path / SUMMARY, summary)
    context.checkpoint("done", 0, 0)
    return summary


def _learn_readout(context: RunContext, kind: str, start: Position, resumed: Checkpoint | None) -> None:
    """Train a readout on the learned or the untrained hidden layers, and write both down."""
    recipe = context.recipe
    weights = untrained_weights(recipe, context.seed)
    network = context.network
    if kind == "untrained":
        network = build_network(recipe, context.backend, weights)
    else:
        weights = weights_of(network)
    layers = [number - 1 for number in recipe.readout.layers]
    train_part, test_part = context.plain("train"), context.plain("test")
    augmentation = augmentation_of(recipe.data, recipe.readout.augmentation)
    stage = f"{kind} features"
    with context.stop.acting_at_once():
        source = feature_source(
            network,
            layers,
            train_part,
            augmentation,
            context.progress,
            stage,
            copies=recipe.readout.augmented_copies,
            seed=context.seed,
        )
        test = feature_source(network, layers, test_part, None, context.progress, f"{stage}, test part")
    readout = Readout(
        recipe.readout_features, context.classes, recipe.readout, context.seed, context.device, context.as_inferred
    )
    if resumed is not None and start.epoch:
        readout.load_state(resumed.group("readout"))
    context.extra = lambda: {f"readout.{name}": value for name, value in readout.state().items()}
    context.progress.start(f"readout on {kind} features", recipe.readout.epochs, start.epoch)
    key = "test_accuracy" if kind == "scff" else "untrained_test_accuracy"
    saved = time.monotonic()
    for epoch in range(start.epoch, recipe.readout.epochs):
        figures = readout.train_epoch(source, train_part.labels, epoch)
        accuracy = readout.accuracy(test, test_part.labels)
        context.values[key] = accuracy
        context.values[key.replace("test", "train")] = figures.train_accuracy
        context.folder.log(
            kind="readout",
            features=kind,
            epoch=epoch + 1,
            loss=figures.loss,
            train_accuracy=figures.train_accuracy,
            test_accuracy=accuracy,
        )
        context.progress.advance(1, train_accuracy=figures.train_accuracy, test_accuracy=accuracy)
        if context.stop.requested or time.monotonic() - saved > 20:
            context.checkpoint(f"readout {kind}", epoch + 1, 0)
            saved = time.monotonic()
    context.progress.finish()
    weights |= {"readout.weight": readout.weight, "readout.bias": readout.bias}
    write_tensors(context.folder.path / (WEIGHTS if kind == "scff" else INITIAL), weights)


def _accuracy(
    context: RunContext, tensors: dict[str, Tensor], path: Path, arrays: dict[str, Tensor] | None = None
) -> tuple[float, Network]:
    """Accuracy of a run's weights on the context's backend, and the network that was measured."""
    recipe = context.recipe
    try:
        network = build_network(recipe, context.backend, tensors)
        if arrays is not None:
            Checkpoint(Position("done"), arrays).restore(network)
        readout = Readout(
            recipe.readout_features, context.classes, recipe.readout, 0, context.device, context.as_inferred
        )
        readout.weight.copy_(tensors["readout.weight"])
        readout.bias.copy_(tensors["readout.bias"])
    except (KeyError, RuntimeError, UsageError) as error:
        raise CheckpointError(f"The weights in {path} are not those of the recipe beside them ({error}).") from None
    layers = [number - 1 for number in recipe.readout.layers]
    part = context.plain("test")
    source = feature_source(network, layers, part, None, context.progress, "test features")
    return readout.accuracy(source, part.labels), network


def _summary(context: RunContext) -> dict[str, Any]:
    values = context.values
    keys = ("test_accuracy", "untrained_test_accuracy", "backprop_test_accuracy", "train_accuracy")
    metrics: dict[str, Any] = {key: values[key] for key in keys if key in values}
    metrics["layers"] = [{"layer": int(number)} | figures for number, figures in values.get("layers", {}).items()]
    metrics["seconds"] = values["seconds"]
    held_out = context.recipe.data.validation_samples
    profile: Profile | None = getattr(context.backend, "profile", None)
    return {
        "run": str(context.folder.path),
        "recipe": context.recipe.name,
        "seed": context.seed,
        "backend": context.backend.name,
        **({} if profile is None else {"profile": profile.name}),
        "measured_on": f"{held_out} held-out training samples" if held_out else "test",
        "metrics": metrics,
    }
