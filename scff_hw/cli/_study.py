"""`scff-hw study`: accuracy over a grid of hardware and seeds."""

from __future__ import annotations

import os
import shlex
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from scff_hw.cli._boundary import resumable
from scff_hw.cli._options import MOST_SEEDS, DataDir, Json, Overrides, at_least, file_name
from scff_hw.cli._output import emit_json, say, show
from scff_hw.cli._progress import command_progress
from scff_hw.cli._study_options import given_options
from scff_hw.errors import UsageError

STUDIES = Path("studies")
BACKPROP = "0.1"
"""Default learning rate of backpropagation."""


def study(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the study.")],
    source: Annotated[str, typer.Argument(metavar="RECIPE|RUN", help="A recipe, or the folder of a finished run.")],
    profile: Annotated[
        str | None,
        typer.Option("--profile", metavar="NAME|FILE", help="Hardware; see: scff-hw profiles list. [ideal]"),
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            "--vary",
            metavar="KEY=V1,V2,...",
            help="A key of the profile, e.g. 'device.response.step=0.001 w,0.01 w'; "
            "bits: of the recipe, e.g. fixed_point.weight_bits=8,4; controls: any of the recipe.",
        ),
    ] = None,
    overrides: Overrides = None,
    seeds: Annotated[int, typer.Option(callback=at_least(1, MOST_SEEDS), help="Number of seeds.")] = 3,
    backprop: Annotated[
        str | None,
        typer.Option(metavar="RATE|none", help="Learning rate of backpropagation on the same devices. [0.1]"),
    ] = None,
    engine: Annotated[str, typer.Option(help="local (joblib) or ray.")] = "local",
    jobs: Annotated[int | None, typer.Option(callback=at_least(1, 1024), help="Points in parallel. [CPUs]")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            callback=file_name, help="Folder; an unfinished study in it resumes. [studies/NAME-RECIPE-HARDWARE-TIME]"
        ),
    ] = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Measure accuracy over hardware and seeds: a table, plots and one HTML page.

    After an interruption, the same command with its --out resumes.
    """
    from scff_hw.report import study_table
    from scff_hw.studies import find_study, request_study, run_study
    from scff_hw.studies.options import flag

    kind = find_study(name)
    if backprop is not None and not kind.on_devices:
        raise UsageError(
            f"The study {name} takes no --backprop: it is compared on devices only. Got --backprop {backprop} instead."
        )
    backprop = BACKPROP if backprop is None else backprop
    options = given_options(context)
    with command_progress() as progress:
        request = request_study(
            name,
            source,
            profile=profile,
            vary=vary or [],
            overrides=overrides or [],
            seeds=seeds,
            data_dir=data_dir,
            backprop_rate=_rate(backprop),
            options=options,
            progress=progress,
        )
    if out is None:
        hardware = request.hardware.replace(" ", "-")
        out = STUDIES / "-".join((name, request.recipe.name, hardware, f"{datetime.now():%Y%m%d-%H%M%S}"))
    command = ["scff-hw", "study", name, source]
    command += [] if request.profile is None else ["--profile", profile or request.profile.name]
    for option, texts in (("--vary", vary), ("--set", overrides)):
        command += [part for text in texts or [] for part in (option, text)]
    command += ["--seeds", str(seeds)]
    command += [] if request.profile is None else ["--backprop", backprop]
    command += [part for key, value in options.items() for part in (flag(key), str(value))]
    command += [] if data_dir is None else ["--data-dir", str(data_dir)]
    command += [] if jobs is None else ["--jobs", str(jobs)]
    again = shlex.join([*command, "--engine", engine, "--out", str(out)])
    with resumable(out, again, (out / "study.json").exists), command_progress() as progress:
        results = run_study(
            request,
            out,
            engine=engine,
            jobs=jobs or os.cpu_count() or 1,
            command=shlex.join(command),
            progress=progress,
        )
    if json:
        emit_json({key: value for key, value in results.items() if key != "panels"})
        return
    show(study_table(f"{kind.title}: {request.subject}", results["panels"]))
    say(f"Folder: {out}   Report: {out / 'report.html'}")


def _rate(text: str) -> float | None:
    if text == "none":
        return None
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 1000:
        raise typer.BadParameter(
            f"'{text}' is neither none nor a number above 0, at most 1000.", param_hint="--backprop"
        )
    return rate
