"""Training of a recipe: hidden layers, readouts, controls and summary; every stage is resumable."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from scff_hw.backends import Backend, backend_class, make_backend
from scff_hw.core.memory import keep_large_blocks
from scff_hw.core.rules import rule_class
from scff_hw.documents import SCHEMA, DataIdentity, RunDetails, RunSummary, Scaling, write_document
from scff_hw.documents.base import LARGEST_SEED
from scff_hw.documents.run import Status
from scff_hw.errors import CheckpointError, RecipeError
from scff_hw.files import AnyPath, path_or_none
from scff_hw.hardware import Profile, dump_profile
from scff_hw.recipes import Recipe, dump_recipe, load_recipe
from scff_hw.training.arguments import check_integer, check_profile
from scff_hw.training.build import build_network, geometries, untrained_weights
from scff_hw.training.calibration import trial_of
from scff_hw.training.controls import learn_backprop
from scff_hw.training.hidden_layers import hidden_stages, learn_hidden
from scff_hw.training.progress import Progress, SilentProgress
from scff_hw.training.readout import check_readout
from scff_hw.training.readout.stage import FEATURES, fit_readout, readout_stages
from scff_hw.training.run_context import (
    AnyDataset,
    RunContext,
    StopRequest,
    check_data,
    data_identity,
    plain_samples,
    recipe_dataset,
    recipe_scaling,
)
from scff_hw.training.run_folder import (
    BACKPROP,
    PROFILE,
    RECIPE,
    RUN,
    SUMMARY,
    Checkpoint,
    Position,
    RunFolder,
    is_free,
    versions,
)


def train(
    recipe: Recipe,
    out: AnyPath,
    *,
    seed: int = 0,
    backend: str = "float",
    profile: Profile | None = None,
    data_dir: AnyPath | None = None,
    resume: bool = False,
    command: str = "",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train `recipe`, write the run to folder `out`, and return the summary, the content of `out/summary.json`.

    `profile` is the hardware for a backend that simulates devices, None for its default. The test part of the data is
    used for measurement only. With `resume`, a killed run continues from its last checkpoint.

    A repeated call, or a resumed run, gives the same weights bit for bit on the backends float (same device and number
    of threads) and fixed. The analog backend repeats initial weights, sample order and devices, but draws new pulses
    and read noise, so its results agree statistically only (see `scff_hw.backends.analog`).

    Raises:
        UsageError: the recipe, the backend, the data or the folder cannot be used.
        DivergenceError: learning diverged.
        KeyboardInterrupt: a stop was requested (Ctrl-C, SIGTERM); the run is saved.
    """
    check_integer("seed of a run", seed, 0, LARGEST_SEED)
    check_profile(profile, "recipe_costs")
    progress = progress or SilentProgress()
    out = Path(out)
    folder = RunFolder(out)
    setting = setting_of(recipe, seed, backend, profile, path_or_none(data_dir))
    if not resume:
        folder.check_free()
    elif not (out / RUN).exists():
        folder.details()  # raises without creating the folder
    with folder.locked():
        return _train(setting, folder, resume, command, progress)


def _train(setting: Setting, folder: RunFolder, resume: bool, command: str, progress: Progress) -> dict[str, Any]:
    """Train in `folder`, which the caller has locked, and return the summary."""
    recipe, checkpoint = setting.recipe, None
    profile: Profile | None = setting.hardware.hardware
    details = RunDetails(
        schema=SCHEMA,
        recipe=recipe.name,
        seed=setting.seed,
        backend=setting.backend,
        command=command,
        profile=None if profile is None else profile.name,
        status="running",
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        duration_s=0.0,
        versions=versions(),
        data=setting.data,
        scaling=setting.scaling,
    )
    if resume:
        earlier = _resumable(folder, setting)
        if not is_free(folder.path):
            details, checkpoint = earlier, folder.load()
            if details.status == checkpoint.position.stage == "done":
                return folder.summary().as_json()  # only read: run.json stays as it is
    for sentence in getattr(setting.dataset, "notes", ()):
        progress.note(sentence)
    context = context_of(setting, folder, progress, new=checkpoint is None)
    if checkpoint is None:
        documents = {RECIPE: dump_recipe(recipe)} | ({} if profile is None else {PROFILE: dump_profile(profile)})
        folder.create(documents | context.backend.documents(), details)
    began = time.monotonic() - details.duration_s
    status: Status = "failed"
    try:
        with context.stop.catching_signals(), torch.no_grad(), keep_large_blocks():
            summary = _run_stages(context, checkpoint)
        status = "done"
    except KeyboardInterrupt:
        status = "interrupted"
        raise
    finally:
        folder.close()
        duration = round(time.monotonic() - began, 3)
        folder.describe(details.model_copy(update={"status": status, "duration_s": duration}))
    return summary


@dataclass(frozen=True)
class Setting:
    """Inputs of a run, before its folder is read or written."""

    recipe: Recipe
    seed: int
    backend: str
    hardware: Backend
    device: torch.device
    dataset: AnyDataset
    data: DataIdentity
    scaling: Scaling


def setting_of(recipe: Recipe, seed: int, backend: str, profile: Profile | None, data_dir: Path | None) -> Setting:
    kind = backend_class(backend)
    device = torch.device("cuda" if torch.cuda.is_available() and "cuda" in kind.device_kinds else "cpu")
    if recipe.training.device != "auto":
        device = torch.device(recipe.training.device)
    options = getattr(recipe, kind.options_section) if kind.options_section else None
    dtype = recipe.training.dtype
    hardware = make_backend(backend, dtype=dtype, device=str(device), profile=profile, seed=seed, options=options)
    rule = rule_class(recipe.training.rule.name)
    if rule.needs_labels and recipe.data.learn_split != "train":
        raise RecipeError(
            f"The rule '{rule.name}' needs labels, so data.learn_split must be train. "
            f"Got '{recipe.data.learn_split}' instead."
        )
    check_readout(recipe)
    dataset = recipe_dataset(recipe, seed, data_dir)
    data = data_identity(recipe, dataset, data_dir)
    scaling = recipe_scaling(recipe, dataset)
    return Setting(recipe, seed, backend, hardware, device, dataset, data, scaling)


def context_of(setting: Setting, folder: RunFolder, progress: Progress, *, new: bool) -> RunContext:
    """Make the context of a run; its backend is prepared if the run is `new`, else restored from the folder."""
    recipe, seed, weights = setting.recipe, setting.seed, untrained_weights(setting.recipe, setting.seed)
    if new:
        samples = plain_samples(recipe, setting.dataset, recipe.data.learn_split, setting.scaling)
        backend = setting.hardware.prepare(trial_of(recipe, weights, samples, seed))
    else:
        backend = setting.hardware.restore(folder.read_text, geometries(recipe), str(folder.path))
    network = build_network(recipe, backend, weights)
    return RunContext(
        recipe,
        seed,
        setting.dataset,
        setting.scaling,
        backend,
        network,
        folder,
        progress,
        setting.device,
        StopRequest(),
    )


def _resumable(folder: RunFolder, setting: Setting) -> RunDetails:
    """Return the content of the folder's run.json; raise CheckpointError if the run does not match `setting`."""
    details, recipe = folder.details(), setting.recipe
    for key, stored, requested in (
        ("recipe", details.recipe, recipe.name),
        ("seed", details.seed, setting.seed),
        ("backend", details.backend, setting.backend),
    ):
        if stored != requested:
            raise CheckpointError(
                f"The run in {folder.path} has {key} {stored!r}, so it cannot be resumed with {requested!r}."
            )
    check_data(setting.data, details.data, folder.path)
    if is_free(folder.path):
        return details  # the run never began: there is no state to restore
    if load_recipe(folder.path / RECIPE) != recipe:
        raise CheckpointError(
            f"The recipe in {folder.path / RECIPE} is not the one asked for now; resume with the same recipe and --set."
        )
    profile: Profile | None = setting.hardware.hardware
    if profile is not None and folder.read_text(PROFILE) != dump_profile(profile):
        raise CheckpointError(
            f"The hardware profile in {folder.path / PROFILE} is not the one asked for now; "
            "resume with the same --profile."
        )
    return details


def _run_stages(context: RunContext, checkpoint: Checkpoint | None) -> dict[str, Any]:
    """Run every stage in order, starting at the checkpoint's position, and return the summary."""
    recipe = context.recipe
    hidden = hidden_stages(recipe)
    readouts = {stage.name: stage for stage in readout_stages(recipe)}
    names = [stage.name for stage in hidden] + list(readouts)
    if recipe.controls.backprop is not None:
        names.insert(next(k for k, name in enumerate(names) if name.endswith("readout backprop")), "backprop")
    position = Position(names[0])
    if checkpoint is None:
        context.checkpoint(names[0], 0, 0)
    else:
        position, context.values = checkpoint.position, checkpoint.values
        checkpoint.restore(context.network)
    if position.stage == "done":
        return context.folder.summary().as_json()
    if position.stage not in names:
        raise CheckpointError(
            f"The stage of the checkpoint in {context.folder.path} must be one of {', '.join(names)}, done. "
            f"Got '{position.stage}' instead."
        )
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
                restored = resumed.group("backprop") if resumed else {}
                weights = learn_backprop(context, recipe.controls.backprop, start, restored)
            context.folder.write_tensors(BACKPROP, weights)
        else:
            fit_readout(context, readouts[name], start, resumed)
        seconds = context.values.setdefault("seconds", {})
        seconds[name] = round(seconds.get(name, 0.0) + time.monotonic() - began, 3)
        context.extra = dict
        if index + 1 < len(names):
            context.checkpoint(names[index + 1], 0, 0)
    summary = _summary(context)
    write_document(context.folder.path / SUMMARY, summary)
    context.checkpoint("done", 0, 0)
    return summary.as_json()


def _summary(context: RunContext) -> RunSummary:
    values = context.values
    keys = (*FEATURES.values(), "backprop_test_accuracy", "readouts", "paper_readouts")
    metrics: dict[str, Any] = {key: values[key] for key in keys if key in values}
    metrics["train_accuracy"] = values["readouts"]["scff"]["train_accuracy"]
    layers = [{"layer": int(number)} | metrics for number, metrics in values.get("layers", {}).items()]
    held_out = context.recipe.data.validation_samples
    profile: Profile | None = context.backend.hardware
    return RunSummary.model_validate(
        {
            "schema": SCHEMA,
            "run": str(context.folder.path),
            "identity": context.folder.identity,
            "recipe": context.recipe.name,
            "seed": context.seed,
            "backend": context.backend.name,
            "profile": None if profile is None else profile.name,
            "measured_on": f"{held_out} held-out training samples" if held_out else "test",
            "metrics": metrics | {"layers": tuple(layers), "seconds": values["seconds"]},
        }
    )
