"""`scff-hw demo`: real data, every backend, minutes, no download."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from scff_hw.cli import _demo_exports
from scff_hw.cli._boundary import resumable
from scff_hw.cli._options import Json, file_name
from scff_hw.cli._output import emit_json, say, show
from scff_hw.cli._progress import CommandProgress, command_progress
from scff_hw.cli._train import RUNS, combined, train_seeds, write_report
from scff_hw.errors import MissingPartError, UsageError
from scff_hw.files import LOCK, exclusive

SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Row:
    """One row of the demo's table: a recipe, a backend, and the hardware it simulates."""

    name: str
    recipe: str
    backend: str
    profile: str | None = None


ROWS = (
    Row("float", "digits-mlp", "float"),
    Row("float-sgd", "digits-100", "float"),
    Row("fixed-int8", "digits-100", "fixed"),
    Row("analog-ecram", "digits-100", "analog", "ecram"),
)


def demo(
    out: Annotated[
        Path, typer.Option(callback=file_name, help="Folder of the demo; an earlier demo in it is replaced.")
    ] = RUNS / "demo",
    json: Json = False,
) -> None:
    """Train on handwritten digits with three seeds, in float beside both controls, in integers, and on devices.

    Ends with the run in integers exported as ONNX and as C that keeps learning, each checked where it would run. Some
    minutes, no download.
    """
    from scff_hw.hardware import load_profile
    from scff_hw.recipes import load_recipe
    from scff_hw.report import backend_table, write_accuracies

    refuse_others(out)
    results: dict[str, list[dict[str, Any]]] = {}
    with (
        exclusive(out / LOCK, out),
        resumable(out, f"scff-hw demo --out {out}   (it starts again)"),
        command_progress() as progress,
    ):
        make_room(out)
        for row in rows_here(progress):
            recipe, folder = load_recipe(row.recipe), out / row.name
            runs = {seed: folder / f"seed-{seed}" for seed in SEEDS}
            progress.note(f"{row.name}: recipe {row.recipe}, {recipe.description}")
            results[row.name] = train_seeds(
                recipe,
                runs,
                backend=row.backend,
                profile=None if row.profile is None else load_profile(row.profile),
                data_dir=None,
                resume=False,
                command="scff-hw demo",
                progress=progress,
            )
            write_accuracies(results[row.name], folder)
            write_report(list(runs.values()), folder, progress)
        fixed = next((row for row in ROWS if row.backend == "fixed" and row.name in results), None)
        checked = []
        if fixed is not None:
            run = out / fixed.name / f"seed-{SEEDS[0]}"
            checked = _demo_exports.export_and_check(run, out / _demo_exports.FOLDER, progress)
    if json:
        each = {name: combined(summaries, out / name) for name, summaries in results.items()}
        emit_json({"run": str(out), "backends": each, "exports": _demo_exports.as_json(checked)})
        return
    show(backend_table(results))
    if checked:
        show(_demo_exports.exports_table(checked))
    say(f"Plots: {out}/*/plots   Reports: " + "  ".join(str(out / name / "report.html") for name in results))


def rows_here(progress: CommandProgress) -> tuple[Row, ...]:
    """The rows that can be run here; says which are left out, and why."""
    from scff_hw.backends import make_backend

    missing: set[str] = set()
    for name in dict.fromkeys(row.backend for row in ROWS):
        try:
            make_backend(name)
        except MissingPartError as error:
            progress.note(f"The {name} backend is left out: {error}")
            missing.add(name)
    return tuple(row for row in ROWS if row.backend not in missing)


def refuse_others(out: Path) -> None:
    """Raise UsageError where `out` holds anything that is not of a demo."""
    if not out.exists():
        return
    ours = {*(row.name for row in ROWS), _demo_exports.FOLDER, LOCK}
    found = {path.name for path in out.iterdir()} if out.is_dir() else {out.name}
    if foreign := sorted(found - ours):
        raise UsageError(f"The folder {out} holds {foreign[0]}, which is not of a demo; choose another --out.")


def make_room(out: Path) -> None:
    """Remove the runs of an earlier demo from `out`, whose lock is held; raises UsageError as `refuse_others`."""
    refuse_others(out)
    for path in out.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()
