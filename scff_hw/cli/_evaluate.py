"""`scff-hw evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scff_hw.cli._options import DataDir, Json, ProfileOption, at_least
from scff_hw.cli._output import emit_json, say, show
from scff_hw.cli._progress import command_progress
from scff_hw.cli._train import run_details
from scff_hw.errors import UsageError

if TYPE_CHECKING:
    from scff_hw.hardware import Profile, Target


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder that `scff-hw train` finished.")],
    profile: ProfileOption = None,
    repeats: Annotated[
        int | None,
        typer.Option(
            callback=at_least(1, 10_000),
            help="With analog devices: number of chips to program, or without --profile number of reads of the run's "
            "chip [default: 3].",
        ),
    ] = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Evaluate the weights of a finished run; with --profile, programmed onto that hardware.

    On analog devices each of --repeats chips has its own devices and programming noise; an analog run is read --repeats
    times on its own chip. Prints the mean, the standard deviation and all accuracies.
    With a digital target, prints the cost of the run's network: bytes, time and energy; no data set is needed.
    """
    from scff_hw.hardware import Target, load_hardware
    from scff_hw.training import REPEATS
    from scff_hw.training import evaluate as evaluate_run

    hardware = None if profile is None else load_hardware(profile)
    _check_repeats(repeats, run, hardware)
    if isinstance(hardware, Target):
        _cost(run, hardware, json=json)
        return
    with command_progress() as progress:
        summary = evaluate_run(run, profile=hardware, repeats=repeats or REPEATS, data_dir=data_dir, progress=progress)
    if clipped := summary.get("clipped_weights"):
        say(
            f"Warning: {100 * clipped:.2g} % of the weights lie beyond the bounds of their devices on "
            f"{summary['profile']}, and were clipped.",
            style="yellow",
        )
    if json:
        emit_json(summary)
    else:
        from scff_hw.report import summary_table

        show(summary_table(summary))


def _check_repeats(repeats: int | None, run: Path, hardware: Profile | Target | None) -> None:
    from scff_hw.backends import backend_class
    from scff_hw.hardware import Target

    details = run_details(run)
    if repeats is None or (hardware is None and details is not None and backend_class(details.backend).noisy_reads):
        return
    if hardware is None or isinstance(hardware, Target):
        given = "no --profile" if hardware is None else f"--profile {hardware.name}, a digital target,"
        raise UsageError(
            "--repeats counts chips, or readings of an analog run, so it needs the --profile of analog devices. "
            f"Got {given} instead."
        )


def _cost(run: Path, target: Target, *, json: bool) -> None:
    from scff_hw.training import run_costs

    costs = run_costs(run, target)
    if json:
        emit_json(costs)
    else:
        from scff_hw.report import cost_table

        show(cost_table(costs))
