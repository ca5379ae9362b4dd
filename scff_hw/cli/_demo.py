"""`scff-hw demo`: real data on every backend in minutes, without download."""

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
    """One row of the demo: recipe, backend and simulated hardware."""

    name: str
    recipe: str
    backend: str
    profile: str | None = None


ROWS = (
    Row("float", "digits-mlp", "float"),
    Row("float-sgd", "digits-20", "float"),
    Row("fixed-int8", "digits-20", "fixed"),
    Row("analog-ecram", "digits-20", "analog", "ecram"),
)


def demo(
    out: Annotated[
        Path, typer.Option(callback=file_name, help="Folder of the demo; an earlier demo in it is replaced.")
    ] = RUNS / "demo",
    json: Json = False,
) -> None:
    """Train on handwritten digits with three seeds: in float with both controls, in integers, and on devices.

    Then exports the integer run as ONNX, as C that continues to learn and as a crossbar program, and checks each
    export. Takes some minutes, without download.
    """
    from scff_hw.backends import backend_class
    from scff_hw.hardware import load_profile
    from scff_hw.recipes import load_recipe
    from scff_hw.report import backend_table, write_accuracies

    refuse_foreign_files(out)
    results: dict[str, list[dict[str, Any]]] = {}
    with (
        exclusive(out / LOCK, out),
        resumable(out, f"scff-hw demo --out {out}   (it starts again)"),
        command_progress() as progress,
    ):
        remove_previous(out)
        rows = available_rows(progress)
        for row in rows:
            recipe, folder = load_recipe(row.recipe), out / row.name
            progress.note(f"{row.name}: recipe {row.recipe}, {recipe.description}")
            plots = train_seeds(
                recipe,
                {seed: folder / f"seed-{seed}" for seed in SEEDS},
                backend=row.backend,
                profile=None if row.profile is None else load_profile(row.profile),
                data_dir=None,
                resume=False,
                command="scff-hw demo",
                progress=progress,
            )
            results[row.name] = [each.run.summary for each in plots]
            write_accuracies(results[row.name], folder)
            write_report(plots, folder, progress)
        integers = next((row for row in rows if backend_class(row.backend).integers), None)
        checked = []
        if integers is not None:
            run = out / integers.name / f"seed-{SEEDS[0]}"
            checked = _demo_exports.export_and_check(run, out / _demo_exports.FOLDER, progress)
    if json:
        seed_results = {name: combined(summaries, out / name) for name, summaries in results.items()}
        emit_json({"run": str(out), "backends": seed_results, "exports": _demo_exports.as_json(checked)})
        return
    show(backend_table(results))
    if checked:
        show(_demo_exports.exports_table(checked))
    say(f"Plots: {out}/*/plots   Reports: " + "  ".join(str(out / name / "report.html") for name in results))


def available_rows(progress: CommandProgress) -> tuple[Row, ...]:
    """Return the rows that this installation can run; reports omitted rows with the reason."""
    from scff_hw.backends import make_backend

    missing: set[str] = set()
    for name in dict.fromkeys(row.backend for row in ROWS):
        try:
            make_backend(name)
        except MissingPartError as error:
            progress.note(f"The {name} backend is left out: {error}")
            missing.add(name)
    return tuple(row for row in ROWS if row.backend not in missing)


def refuse_foreign_files(out: Path) -> None:
    """Raise UsageError if `out` contains anything that is not from a demo."""
    if not out.exists():
        return
    ours = {*(row.name for row in ROWS), _demo_exports.FOLDER, LOCK}
    names = {path.name for path in out.iterdir()} if out.is_dir() else {out.name}
    if foreign := sorted(names - ours):
        raise UsageError(f"The folder {out} holds {foreign[0]}, which is not of a demo; choose another --out.")


def remove_previous(out: Path) -> None:
    """Remove the runs of an earlier demo from the locked `out`; raises UsageError as `refuse_foreign_files`."""
    refuse_foreign_files(out)
    for path in out.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()
