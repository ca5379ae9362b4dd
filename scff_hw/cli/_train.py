"""`scff-hw train`."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scff_hw.cli._boundary import resumable
from scff_hw.cli._options import (
    MOST_SEEDS,
    DataDir,
    Json,
    Overrides,
    ProfileOption,
    at_least,
    file_name,
    is_seed,
)
from scff_hw.cli._output import emit_json, say, show
from scff_hw.cli._progress import CommandProgress, command_progress
from scff_hw.errors import UsageError

if TYPE_CHECKING:
    from scff_hw.documents import RunDetails
    from scff_hw.hardware import Profile
    from scff_hw.recipes import Recipe
    from scff_hw.report import RunPlots

RUNS = Path("runs")
BACKEND = "float"
"""Default of `--backend`; printed commands leave it out."""


def train(
    recipe: Annotated[str, typer.Argument(help="A packaged recipe, or the path of a YAML file.")],
    backend: Annotated[
        str, typer.Option(help="Backend of the weights: float, fixed, analog, or one of an installed package.")
    ] = BACKEND,
    profile: ProfileOption = None,
    overrides: Overrides = None,
    seed: Annotated[
        int, typer.Option(callback=is_seed, help="Seed of initial weights, order and augmentation.")
    ] = 0,
    seeds: Annotated[
        int, typer.Option(callback=at_least(1, MOST_SEEDS), help="Number of seeds, each in OUT/seed-N.")
    ] = 1,
    out: Annotated[
        Path | None, typer.Option(callback=file_name, help="Run folder [default: runs/RECIPE-seedN-TIME].")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume an interrupted run.")] = False,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Train a recipe and its untrained and backpropagation controls; write a run folder."""
    from scff_hw.backends import backend_class
    from scff_hw.documents.base import LARGEST_SEED
    from scff_hw.recipes import load_recipe

    if (last := seed + seeds - 1) > LARGEST_SEED:
        raise UsageError(f"The last of the {seeds} seeds must be at most {LARGEST_SEED}. Got {last} instead.")
    resolved = load_recipe(recipe, overrides or [])
    ignored = [text for text in overrides or [] if text.strip().startswith("fixed_point")]
    if ignored and backend_class(backend).options_section != "fixed_point":
        say(f"Warning: --set {ignored[0]} changes nothing: fixed_point is for --backend fixed alone.", style="yellow")
    hardware = _hardware(profile)
    numbers = list(range(seed, seed + seeds))
    if out is None:
        out = newest_unfinished(resolved.name, seed, seeds) if resume else new_folder(resolved.name, seed, seeds)
    folders = {number: out if seeds == 1 else out / f"seed-{number}" for number in numbers}
    check_folders(out, folders, resolved.name, resume=resume)
    command = ["scff-hw", "train", recipe, *_if(backend != BACKEND, "--backend", backend)]
    command += _if(profile is not None, "--profile", str(profile))
    command += [part for override in overrides or [] for part in ("--set", override)]
    command += [*_if(seed != 0, "--seed", str(seed)), *_if(seeds > 1, "--seeds", str(seeds))]
    command += _if(data_dir is not None, "--data-dir", str(data_dir))
    again = shlex.join([*command, "--resume", "--out", str(out)])
    with resumable(out, again, lambda: _can_resume(folders)), command_progress() as progress:
        plots = train_seeds(
            resolved,
            folders,
            backend=backend,
            profile=hardware,
            data_dir=data_dir,
            resume=resume,
            command=shlex.join([*command, "--out", str(out)]),
            progress=progress,
        )
        report = write_report(plots, out, progress)
    present([each.run.summary for each in plots], out, report, json=json)


def train_seeds(
    recipe: Recipe,
    folders: dict[int, Path],
    *,
    backend: str,
    profile: Profile | None = None,
    data_dir: Path | None,
    resume: bool,
    command: str,
    progress: CommandProgress,
) -> list[RunPlots]:
    """Train the seeds one after the other in their folders, write plots, and return the plots with their runs."""
    from scff_hw.report import RunPlots, read_run
    from scff_hw.training import train as train_run

    plots = []
    for seed, folder in folders.items():
        progress.heading = f"seed {seed} · " if len(folders) > 1 else ""
        train_run(
            recipe,
            folder,
            seed=seed,
            backend=backend,
            profile=profile,
            data_dir=data_dir,
            resume=resume and (folder / "run.json").exists(),
            command=command,
            progress=progress,
        )
        plots.append(RunPlots(read_run(folder)))
        plots[-1].write()
    progress.heading = ""
    return plots


def write_report(plots: Sequence[RunPlots], out: Path, progress: CommandProgress) -> Path:
    """Write report.html about the runs to `out` and return its path."""
    from scff_hw.report import html

    progress.start("report", 1)
    path = html(plots, out / "report.html")
    progress.advance()
    progress.finish()
    return path


def present(summaries: Sequence[dict[str, Any]], out: Path, report: Path, *, json: bool) -> None:
    """Print the results of one or several seeds, as a table or as one JSON object."""
    from scff_hw.report import spread_table, summary_table

    if json:
        emit_json(summaries[0] if len(summaries) == 1 else combined(summaries, out))
        return
    show(summary_table(summaries[0]) if len(summaries) == 1 else spread_table(summaries))
    say(f"Run folder: {out}   Report: {report}")


def combined(summaries: Sequence[dict[str, Any]], out: Path) -> dict[str, Any]:
    """Return the results of several seeds: mean accuracies as `metrics`, standard deviations as `std`."""
    keys = [key for key, value in summaries[0]["metrics"].items() if isinstance(value, float)]
    values = {key: [float(summary["metrics"][key]) for summary in summaries] for key in keys}
    return {
        "run": str(out),
        "recipe": summaries[0]["recipe"],
        "seeds": [summary["seed"] for summary in summaries],
        "metrics": {key: statistics.mean(accuracies) for key, accuracies in values.items()},
        "std": {key: statistics.stdev(accuracies) for key, accuracies in values.items()},
        "runs": list(summaries),
    }


def new_folder(recipe: str, seed: int, seeds: int) -> Path:
    """Return the default folder of a new run: runs/RECIPE-seedN-TIME."""
    return RUNS / f"{_stem(recipe, seed, seeds)}{datetime.now():%Y%m%d-%H%M%S}"


def newest_unfinished(recipe: str, seed: int, seeds: int) -> Path:
    """Return the newest default folder of this recipe and seed with an unfinished run.

    Raises UsageError if there is none.
    """
    for folder in sorted(RUNS.glob(f"{_stem(recipe, seed, seeds)}*"), reverse=True):
        parts = [folder] if seeds == 1 else [folder / f"seed-{n}" for n in range(seed, seed + seeds)]
        if any(_status(part) != "done" for part in parts):
            return folder
    raise UsageError(
        f"There is no unfinished run of {recipe}, seed {seed}, under {RUNS.absolute()} to resume; "
        "name its folder with --out, or leave --resume out to start one."
    )


def check_folders(out: Path, folders: dict[int, Path], recipe: str, *, resume: bool) -> None:
    """Refuse a folder with other content before training starts.

    Raises UsageError for a folder that is not free, and with `resume` if there is nothing to resume.
    """
    from scff_hw.training.run_folder import is_free

    if resume and not any((folder / "run.json").exists() for folder in folders.values()):
        raise UsageError(f"There is no run to resume in {out}; leave --resume out to start one.")
    for folder in {out, *folders.values()}:
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"The run folder must be a folder; {folder} is a file.")
        if is_free(folder, besides=[other for other in folders.values() if is_free(other)]):
            continue  # a run of any recipe that never started
        existing = _recipe_of(folder)
        if existing is not None and existing != recipe:
            raise UsageError(f"The folder {folder} holds a run of {existing}, not of {recipe}; choose another --out.")
        if existing is not None and not resume:
            raise UsageError(
                f"The folder {folder} holds a run of {existing} already; choose another --out, or continue it "
                "with --resume."
            )
        if existing is None and not resume:
            raise UsageError(f"The folder {folder} is not empty and holds no run; choose another --out.")


def _hardware(name: str | None) -> Profile | None:
    from scff_hw.hardware import load_profile

    return None if name is None else load_profile(name)


def _stem(recipe: str, seed: int, seeds: int) -> str:
    return f"{recipe}-seed{seed}" + (f"to{seed + seeds - 1}-" if seeds > 1 else "-")


def _recipe_of(folder: Path) -> str | None:
    details = run_details(folder)
    return None if details is None else details.recipe


def _status(folder: Path) -> str | None:
    details = run_details(folder)
    return None if details is None else details.status


def _can_resume(folders: dict[int, Path]) -> bool:
    begun = [folder for folder in folders.values() if (folder / "run.json").exists()]
    return bool(begun) and all((folder / "checkpoint.safetensors").exists() for folder in begun)


def run_details(folder: Path) -> RunDetails | None:
    from scff_hw.documents import RunDetails, read_document

    path = folder / "run.json"
    return read_document(path, RunDetails) if path.exists() else None


def _if(condition: bool, *parts: str) -> list[str]:
    return list(parts) if condition else []
