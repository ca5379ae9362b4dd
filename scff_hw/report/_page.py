"""One self-contained HTML page: results, plots, configuration, versions."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from scff_hw import escaping
from scff_hw.errors import UsageError
from scff_hw.files import AnyPath, write_atomic
from scff_hw.report._curves import accuracies
from scff_hw.report._picture import Picture
from scff_hw.report._plots import RunPlots
from scff_hw.report._run import Run, read_run
from scff_hw.report._tables import (
    COMPARED,
    READ,
    accuracies_of,
    duration,
    layer_columns,
    name_of,
    paired_gain,
    percent,
    readout_name,
    spread,
    total_seconds,
)

CLASSES = {
    "untrained_test_accuracy": "untrained",
    "patches_test_accuracy": "untrained",
    "test_accuracy": "scff",
    "backprop_features_test_accuracy": "backprop",
    "backprop_test_accuracy": "backprop",
}


def html(runs: AnyPath | RunPlots | Sequence[AnyPath | RunPlots], out: AnyPath | None = None) -> Path:
    """Write a report of one run folder, or of several (seeds, backends), as one self-contained page.

    Pass a `RunPlots` in place of a folder to reuse the plots that it has drawn.
    `out` is the file to write; by default report.html in the run folder, or in the common folder of the runs.
    Returns its path. Raises UsageError without runs or if several have no common folder, CheckpointError if one is
    not a run folder.
    """
    listed = [runs] if isinstance(runs, str | PathLike | RunPlots) else runs
    plots = [run if isinstance(run, RunPlots) else RunPlots(read_run(run)) for run in listed]
    paths = [each.run.path for each in plots]
    if not paths:
        raise UsageError("A report needs at least one run folder; got none.")
    if out is None:
        parents = {path.resolve().parent for path in paths}
        if len(paths) > 1 and len(parents) > 1:
            raise UsageError("Runs of several folders need the path of the report to write: pass `out`.")
        out = (paths[0] if len(paths) == 1 else paths[0].parent) / "report.html"
    return write_atomic(Path(out), render(plots).encode())


def render(plots: Sequence[RunPlots]) -> str:
    """Return the page about the runs as HTML text."""
    runs = [each.run for each in plots]
    summaries = [run.summary for run in runs]
    names = list(dict.fromkeys(str(summary["recipe"]) for summary in summaries))
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            title=", ".join(names),
            description=runs[0].recipe.description,
            seeds=[run.seed for run in runs],
            results=[row for key in COMPARED if (row := _result(runs, key))],
            readout=readout_name(summaries),
            papers=any(summary["metrics"].get("paper_readouts") for summary in summaries),
            seconds=duration(sum(map(total_seconds, summaries))),
            overview=Picture(lambda theme: accuracies(summaries, theme)) if len(runs) > 1 else None,
            runs=[_section(each) for each in plots],
        )
    )


def environment() -> Environment:
    """Return a Jinja environment with the templates of this package.

    Values are escaped by `escaping.html`; an undefined name is an error.
    """
    return Environment(
        loader=PackageLoader("scff_hw.report", ""),
        autoescape=True,
        finalize=lambda value: escaping.html(value) if isinstance(value, str) else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _result(runs: Sequence[Run], key: str) -> dict[str, Any] | None:
    summaries = [run.summary for run in runs]
    values = accuracies_of(summaries, key)
    if not values:
        return None
    cells = [percent(summary["metrics"].get(key)) for summary in summaries]
    base = accuracies_of(summaries, "untrained_test_accuracy")
    gain = "" if key == "untrained_test_accuracy" else paired_gain(values, base)
    papers = [summary["metrics"].get("paper_readouts", {}) for summary in summaries]
    theirs = [paper[READ[key]] for paper in papers if READ.get(key) in paper]
    row = {"name": name_of(key, summaries), "css": CLASSES[key], "spread": spread(values), "cells": cells}
    return row | {"gain": gain, "paper": spread(theirs) if theirs else "", "readouts": _readouts(runs, key)}


def _readouts(runs: Sequence[Run], key: str) -> list[str]:
    """Describe the fit of each run's readout in words, without those of the paper's solver."""
    texts = []
    for run in runs:
        report = run.summary["metrics"].get("readouts", {}).get(READ.get(key, ""))
        if report is None or report["solver"] == "paper":
            continue
        held_out = report.get("held_out_accuracy")
        texts.append(
            f"L2 strength {report['strength']:.2g}, {report['iterations']} iterations, relative gradient "
            f"{report['gradient']:.1e}, training {percent(report['train_accuracy'])}, held out {percent(held_out)}"
        )
    return texts


def _section(plots: RunPlots) -> dict[str, Any]:
    run = plots.run
    metrics = run.summary["metrics"]
    stages = {name: value for name, value in metrics.get("seconds", {}).items() if name != "total"}
    return {
        "seed": run.seed,
        "backend": run.info.get("backend", ""),
        "profile": run.info.get("profile", ""),
        "started": run.info.get("started", ""),
        "command": run.info.get("command", ""),
        "versions": run.info.get("versions", {}),
        "recipe": run.recipe_text,
        "layers": metrics.get("layers", []),
        "columns": layer_columns(metrics.get("layers", [])),
        "formats": [_format(tensor) for tensor in run.ranges],
        "stages": {name.replace("_", " "): duration(value) for name, value in stages.items()},
        "seconds": duration(total_seconds(run.summary)),
        "curves": plots.curves,
        "filters": plots.filters,
    }


def _format(tensor: dict[str, Any]) -> tuple[str, ...]:
    """Return the table cells of one tensor's number format."""
    fracs = tensor["frac"] if isinstance(tensor["frac"], list) else [tensor["frac"]]
    frac = str(fracs[0]) if min(fracs) == max(fracs) else f"{min(fracs)} to {max(fracs)}"
    sizes = (f"{tensor[key]:.3g}" for key in ("largest", "holds"))
    layer = tensor["layer"].replace("layers.", "layer ")
    return layer, tensor["tensor"].replace("_", " "), str(tensor["bits"]), frac, *sizes, percent(tensor["clipped"])
