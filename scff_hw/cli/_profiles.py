"""`scff-hw profiles`: list, show, validate and fit hardware profiles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table

from scff_hw.cli._options import Json, file_name
from scff_hw.cli._output import emit, emit_json, say, show
from scff_hw.cli._progress import CommandProgress, command_progress

if TYPE_CHECKING:
    from scff_hw.hardware import Profile, Target

app = typer.Typer(help="List, show, validate and fit hardware profiles.")

ProfileArgument = Annotated[
    str, typer.Argument(metavar="NAME|FILE", help="A shipped profile, or the path of a YAML file.")
]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key, e.g. 'device.response.step=0.01 w'."),
]


@app.command("list")
def list_(json: Json = False) -> None:
    """List the shipped hardware profiles: analog devices and digital targets."""
    from scff_hw.hardware import load_profile, load_target, profile_names, target_names

    profiles = [load_profile(name) for name in profile_names()]
    targets = [load_target(name) for name in target_names()]
    if json:
        emit_json({"profiles": [_summary(hardware) for hardware in (*profiles, *targets)]})
        return
    devices = _table("analog devices", "update", ">states", "cell", "what")
    for profile in profiles:
        states = "-" if profile.device.model == "exact" else f"{profile.device.states:,.0f}".replace(",", " ")
        devices.add_row(profile.name, profile.device.model, states, profile.array.cell, profile.description)
    show(devices)
    chips = _table("digital targets", ">flash", ">RAM", ">clock", "what")
    for target in targets:
        chips.add_row(target.name, *_sizes(target), target.description)
    show(chips)


@app.command("show")
def show_(profile: ProfileArgument, overrides: Changes = None, json: Json = False) -> None:
    """Print a resolved profile, every value with its unit, as YAML on standard output."""
    from scff_hw.hardware import dump_profile, load_hardware

    resolved = load_hardware(profile, overrides or [], "--set")
    if json:
        emit_json(resolved.model_dump(mode="json"))
    else:
        emit(dump_profile(resolved))


@app.command("validate")
def validate(
    profiles: Annotated[list[str], typer.Argument(metavar="NAME|FILE...", help="Profiles to check.")],
    json: Json = False,
) -> None:
    """Validate profiles: keys, units, ranges, sources; exit code 2 if one is invalid."""
    from scff_hw.hardware import load_hardware

    loaded = [load_hardware(name) for name in profiles]
    if json:
        emit_json({"profiles": [_summary(profile) for profile in loaded]})
        return
    for name, profile in zip(profiles, loaded, strict=True):
        say(f"{name} is a valid profile: {profile.name}, {_in_short(profile)}.")


@app.command("fit")
def fit(
    measurements: Annotated[Path, typer.Argument(help="CSV: pulse number, direction (up or down), conductance.")],
    out: Annotated[
        Path | None,
        typer.Option(callback=file_name, help="Folder for the profile and its plot [default: that of the CSV file]."),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the profile [default: that of the CSV file].")] = "",
    model: Annotated[
        str, typer.Option(help="soft-bounds, linear-step, exp-step, or best: selected by held-out pulses.")
    ] = "best",
    source: Annotated[str, typer.Option(help="Source of the measurements, one line.")] = "",
    g_min: Annotated[
        str, typer.Option(metavar="QUANTITY", help="Conductance of the lower bound, if known, e.g. '10 uS'.")
    ] = "",
    g_max: Annotated[
        str, typer.Option(metavar="QUANTITY", help="Conductance of the upper bound, if known, e.g. '50 uS'.")
    ] = "",
    json: Json = False,
) -> None:
    """Fit a profile to measurements of conductance per pulse, with a plot of the fit and the data."""
    from scff_hw.hardware.fitting import fit_device
    from scff_hw.hardware.measurements import read_measurements
    from scff_hw.report.fitted import check_files, write_fit

    low, high = _conductance("--g-min", g_min), _conductance("--g-max", g_max)
    folder = measurements.parent if out is None else out
    name, source = name or measurements.stem, source or f"measurements {measurements}"
    check_files(folder, name, source)
    with command_progress() as progress:
        data = read_measurements(measurements, _stage(progress, "reading"))
        fitted = fit_device(data, model, _stage(progress, "fitting"), g_min=low, g_max=high)
    profile, plot = write_fit(fitted, data, folder, name, source)
    for warning in fitted.warnings:
        say(f"Warning: {warning}.", style="yellow")
    if json:
        metrics = fitted.metrics() | {
            "intervals": fitted.intervals,
            "intervals_include": fitted.included,
            "held_out_log_likelihood": fitted.compared,
            "warnings": fitted.warnings,
        }
        emit_json({"profile": str(profile), "plot": str(plot), **metrics})
        return
    table = _table("figure", ">value", "95 % interval")
    for key, value in fitted.metrics().items():
        ends = fitted.intervals.get(key)
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        table.add_row(key.replace("_", " "), text, f"{ends[0]:.4g} to {ends[1]:.4g}" if ends else "")
    show(table)
    say(f"{fitted.included[0].upper()}{fitted.included[1:]}.")
    if fitted.compared:
        scores = ", ".join(f"{model} {score:.3f}" for model, score in fitted.compared.items())
        say(f"Log-likelihood per held-out pulse: {scores}.")
    say(f"Profile: {profile}   Plot: {plot}")


def _conductance(option: str, value: str) -> float | None:
    """Return the value of an option in siemens; None if it is not given."""
    from pydantic_core import PydanticCustomError

    from scff_hw.errors import ProfileError
    from scff_hw.hardware.quantities import Quantity

    if not value:
        return None
    quantity = Quantity("S", 0, 1)
    try:
        return quantity.parse(value)
    except PydanticCustomError as error:
        raise ProfileError(f"{option} must be {quantity.allowed}, got '{value}'{quantity.hint(value)}") from error


def _stage(progress: CommandProgress, name: str) -> Callable[[int, int], None]:
    """Return a progress callback that starts the stage at its first call."""
    reported = 0

    def report(done: int, total: int) -> None:
        nonlocal reported
        if not reported:
            progress.start(name, total)
        progress.advance(done - reported)
        reported = done

    return report


def _summary(profile: Profile | Target) -> dict[str, Any]:
    summary = {"name": profile.name, "kind": profile.kind, "description": profile.description}
    if profile.kind == "digital":
        return summary | {
            "chip": profile.chip,
            "flash_bytes": int(profile.memory.flash),
            "ram_bytes": int(profile.memory.ram),
            "clock_hz": profile.compute.clock,
        }
    return summary | {
        "model": profile.device.model,
        "states": None if profile.device.model == "exact" else round(profile.device.states, 1),
        "cell": profile.array.cell,
    }


def _in_short(profile: Profile | Target) -> str:
    if profile.kind == "digital":
        flash, ram, clock = _sizes(profile)
        return f"digital, {flash} of flash, {ram} of RAM, {clock}"
    return f"{profile.device.model}, {profile.device.states:.0f} states"


def _sizes(target: Target) -> tuple[str, str, str]:
    memory = target.memory
    return f"{memory.flash / 1024:g} KiB", f"{memory.ram / 1024:g} KiB", f"{target.compute.clock / 1e6:g} MHz"


def _table(*titles: str) -> Table:
    """Return an empty table; titles that begin with > are right-aligned, and the last column may wrap."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in titles:
        justify = "right" if title.startswith(">") else "left"
        table.add_column(title.removeprefix(">"), no_wrap=title != titles[-1], justify=justify)
    return table
