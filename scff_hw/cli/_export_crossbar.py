"""`scff-hw export crossbar`."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from scff_hw.cli._options import Json, file_name
from scff_hw.cli._output import emit_json, say
from scff_hw.cli._progress import command_progress


def crossbar(
    run: Annotated[Path, typer.Argument(help="A run folder that `scff-hw train` finished, on any backend.")],
    profile: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="Hardware with conductances; see: scff-hw profiles list.")
    ],
    out: Annotated[Path, typer.Option(callback=file_name, help="New or empty folder.")],
    profile_set: Annotated[
        list[str] | None,
        typer.Option(
            "--profile-set", metavar="KEY=VALUE", help="Change a key of the profile, e.g. 'device.g_max=25 uS'."
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="Learning rate of the pulses [default: the recipe's, times the profile's factor]."),
    ] = None,
    read_voltage: Annotated[float, typer.Option(help="Voltage of a full-scale input, in volts.")] = 0.2,
    check: Annotated[
        bool, typer.Option("--check", help="Also compile the kernel with gcc, and simulate the netlist with ngspice.")
    ] = False,
    json: Json = False,
) -> None:
    """Export a finished run for an in-memory chip: tiles, conductances, converters, and updates as pulse programs.

    The profile must have device.g_min and device.g_max, the conductances of your devices.
    """
    from scff_hw.export.crossbar.model import CrossbarExporter, CrossbarOptions
    from scff_hw.hardware import load_profile

    options = CrossbarOptions(load_profile(profile, profile_set or ()), learning_rate, read_voltage, check)
    with command_progress() as progress:
        manifest = CrossbarExporter().export_folder(run, out, options, progress=progress)
    if json:
        emit_json({"folder": str(out)} | manifest.as_json())
        return
    say(f"Number of tiles: {manifest.tiles}   Devices to program: {manifest.devices_to_program}")
    if manifest.clipped_weights:
        share = manifest.clipped_weights / manifest.weights
        say(
            f"Warning: {manifest.clipped_weights} weights, {100 * share:.2g} % of all, lie beyond the bounds of the "
            "mean device, and were clipped.",
            style="yellow",
        )
    if checks := manifest.checks:
        say(f"Kernel: {checks.selftest}")
        say(
            f"Netlist: {checks.netlist_without_wires:.1e} off the digital product without wires, "
            f"{checks.ir_drop_of_largest_output:.1e} of the largest output with them"
        )
    say(f"Exported to {out}; check the kernel: make -C {quote(str(out))} run")
