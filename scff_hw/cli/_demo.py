"""`scff-hw demo`: real data, every backend, minutes, no download."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from scff_hw.cli._boundary import resumable
from scff_hw.cli._options import Json
from scff_hw.cli._output import emit_json, say, show
from scff_hw.cli._progress import command_progress
from scff_hw.cli._train import RUNS, combined, train_seeds, write_report
from scff_hw.errors import UsageError

RECIPE = "digits-mlp"
# A further backend is a further name here: its runs get a folder, its result a row.
BACKENDS = ("float",)
SEEDS = (0, 1, 2)


def demo(
    out: Annotated[Path, typer.Option(help="Folder of the demo; an earlier demo in it is replaced.")] = RUNS / "demo",
    json: Json = False,
) -> None:
    """Train on handwritten digits with three seeds, beside both controls: about a minute, no download."""
    from scff_hw.recipes import load_recipe
    from scff_hw.report import backend_table, write_accuracies

    recipe = load_recipe(RECIPE)
    make_room(out)
    results: dict[str, list[dict[str, Any]]] = {}
    folders: list[Path] = []
    with resumable(out, f"scff-hw demo --out {out}   (it starts again)"), command_progress() as progress:
        progress.note(f"Recipe {RECIPE}: {recipe.description}")
        for backend in BACKENDS:
            runs = {seed: out / f"{backend}-seed-{seed}" for seed in SEEDS}
            results[backend] = train_seeds(
                recipe,
                runs,
                backend=backend,
                data_dir=None,
                resume=False,
                command="scff-hw demo",
                progress=progress,
            )
            folders += runs.values()
        write_accuracies(results["float"], out)
        report = write_report(folders, out, progress)
    if json:
        emit_json({"run": str(out), "backends": {name: combined(each, out) for name, each in results.items()}})
        return
    show(backend_table(results))
    say(f"Plots: {out / 'plots'} and {folders[0] / 'plots'}   Report: {report}")


def make_room(out: Path) -> None:
    """Remove the runs of an earlier demo from `out`.

    Raises UsageError where `out` holds anything else: nothing is removed then.
    """
    if not out.exists():
        return
    ours = {f"{backend}-seed-{seed}" for backend in BACKENDS for seed in SEEDS} | {"plots", "report.html"}
    found = {path.name for path in out.iterdir()} if out.is_dir() else {out.name}
    if foreign := sorted(found - ours):
        raise UsageError(f"The folder {out} holds {foreign[0]}, which is not of a demo; choose another --out.")
    for path in out.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
