"""A finished run for an in-memory chip: tile map, target conductances, converters, and updates as pulse programs."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scff_hw.backends import Conv2d, Geometry
from scff_hw.core.random import stream_seed
from scff_hw.errors import CheckpointError, ScffError, UsageError
from scff_hw.export.crossbar_c import TileProgram, golden_codes, require_gcc, selftest, write_c
from scff_hw.export.crossbar_map import Tile, conductances, granularity, tiles
from scff_hw.export.crossbar_text import readme
from scff_hw.export.folder import appearing, check_out, digests
from scff_hw.export.pulses import CODE_TOP, PulseScheme
from scff_hw.export.spice import netlist, require_ngspice, simulate
from scff_hw.hardware import Profile, dump_profile
from scff_hw.hardware.schema import Periphery
from scff_hw.recipes import Recipe, load_recipe
from scff_hw.training.build import geometries
from scff_hw.training.progress import Progress, SilentProgress
from scff_hw.training.run_folder import PROFILE, RECIPE, RUN, WEIGHTS, RunFolder, read_tensors

FORMAT, VERSION = "scff-hw crossbar program", 1
MANIFEST, PROGRAM, ARRAYS, NETLIST = "manifest.json", "program.json", "tiles.npz", "tile.cir"

READ_VOLT = 0.2
"""Voltage of a full input unless asked otherwise: no profile gives one, and this is low for most devices."""

NETLIST_ROWS, NETLIST_COLUMNS = 32, 16
"""Lines of the first tile that the netlist holds at most: what ngspice solves in a moment."""

UNITS = {
    "siemens": "S, of the mean device",
    "w": "a weight on the crossbar; a layer's weight is that times the tile's scale",
    "volt": "V",
    "ampere": "A, positive column minus negative",
    "ohm": "ohm, of a segment of wire from one cell to the next",
    "s": "s",
    "joule": "J",
}


@dataclass(frozen=True)
class _Finished:
    """A run whose weights can be put on tiles: `weights` of its layers, biases and readout by name, float."""

    path: Path
    recipe: Recipe
    seed: int
    backend: str
    geometries: list[Geometry]
    weights: dict[str, NDArray[Any]]


def export_crossbar(
    run: Path,
    profile: Profile,
    out: Path,
    *,
    learning_rate: float | None = None,
    read_volt: float = READ_VOLT,
    check: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write a finished run of any backend as a crossbar program; `out` holds all of it, or is not there.

    Args:
        profile: of devices with `device.g_min` and `device.g_max`.
        out: a folder that does not exist, or is empty.
        learning_rate: of all layers' weights; None: the recipe's, times the profile's `learning.learning_rate_factor`.
        read_volt: of a full input.
        check: also compile the kernel and repeat its golden vectors, and solve the netlist with ngspice.

    Returns:
        The folder's `manifest.json`.

    Raises:
        UsageError: the run, the profile, the folder or a number cannot be used.
        CheckpointError: not a finished run.
        MissingPartError: `check` without gcc or ngspice.
        ScffError: a check failed.
    """
    progress = progress or SilentProgress()
    check_out(out)
    for name, value in (("learning rate", learning_rate), ("read voltage", read_volt)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise UsageError(f"The {name} of a crossbar program must be a finite number > 0. Got {value:g} instead.")
    if check:
        require_gcc()
        require_ngspice()
    held = conductances(profile)
    found = _finished(run)
    rates = [_rate(found, number, profile, learning_rate) for number in range(1, len(found.geometries) + 1)]
    progress.start("mapping layers", len(found.geometries))
    arrays: dict[str, NDArray[Any]] = {}
    programs: list[TileProgram] = []
    layers, first = [], None
    for number, (geometry, rate) in enumerate(zip(found.geometries, rates, strict=True), start=1):
        layer = _layer(number, geometry, found, rate)
        for tile in tiles(f"layers.{number}", _matrix(found, number), profile):
            first = first or tile
            made = _program(tile, profile, rate, found.seed)
            arrays |= {f"{tile.name}.{key}": getattr(tile, key) for key in ("plus", "minus", "order")}
            layer["tiles"].append(_tile(tile, made))
            programs.append(made)
        layers.append(layer)
        progress.advance()
    progress.finish()
    arrays |= {
        name: value for name, value in found.weights.items() if not name.endswith(".weight") or "readout" in name
    }
    assert first is not None, "a recipe has layers"
    part = _netlist_part(first, profile, read_volt)
    program = {
        "format": FORMAT,
        "version": VERSION,
        "units": UNITS,
        "cell": profile.array.cell,
        "conductance": {
            "g_min_siemens": held.g_min,
            "g_max_siemens": held.g_max,
            "zero_siemens": held.zero,
            "siemens_per_w": held.per_weight,
            "w_min": held.w_min,
            "w_max": held.w_max,
            "source": profile.source_of("device.g_max"),
        },
        "converters": _converters(profile.periphery, read_volt, held.per_weight),
        "pulses": _pulses(profile, held.per_weight),
        "netlist": part,
        "layers": layers,
    }
    clipped = sum(tile["clipped_weights"] for layer in layers for tile in layer["tiles"])
    values = {"recipe": found.recipe.name, "run": run.name, "profile": profile.name, "version": version("scff-hw")}
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "made_by": f"scff-hw {values['version']}",
        **{key: values[key] for key in ("run", "recipe", "profile")},
        "backend": found.backend,
        "seed": found.seed,
        "tiles": len(programs),
        "devices_to_program": sum(tile["devices_to_program"] for layer in layers for tile in layer["tiles"]),
        "clipped_weights": clipped,
    }
    with appearing(out) as folder:
        write_c(folder, programs, [tile["golden"] for layer in layers for tile in layer["tiles"]], values)
        (folder / PROGRAM).write_text(json.dumps(program, indent=1) + "\n", encoding="utf-8")
        np.savez_compressed(folder / ARRAYS, **arrays)  # pyright: ignore[reportArgumentType]
        rows, columns = part["rows"], part["columns"]
        cut = first.plus[:rows, :columns], first.minus[:rows, :columns]
        volts = np.array(part["volts"])
        text = netlist(
            *cut, volts, part["wire_ohm"], part["wire_ohm"], f"{first.name} of {found.recipe.name} on {profile.name}"
        )
        (folder / NETLIST).write_text(text, encoding="utf-8")
        (folder / RECIPE).write_text(RunFolder(run).read_text(RECIPE), encoding="utf-8")
        (folder / PROFILE).write_text(dump_profile(profile), encoding="utf-8")
        (folder / "README.md").write_text(readme(manifest, program), encoding="utf-8")
        if check:
            manifest["checks"] = _checks(folder, text, cut, volts, part["wire_ohm"], progress)
        manifest["files"] = digests(folder)
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return manifest


def _finished(run: Path) -> _Finished:
    folder = RunFolder(run)
    details = folder.read_json(RUN)
    if (status := details.get("status")) != "done":
        raise CheckpointError(f"The run in {run} must be finished to be exported, but it is {status}.")
    recipe = load_recipe(str(run / RECIPE))
    tensors, _ = read_tensors(run / WEIGHTS)
    shapes = geometries(recipe)
    for number, geometry in enumerate(shapes, start=1):
        name = f"layers.{number}.weight"
        got = list(tensors[name].shape) if name in tensors else None
        if got != list(geometry.weight_shape) or f"layers.{number}.bias" not in tensors:
            raise CheckpointError(
                f"The weights in {run / WEIGHTS} are not those of the recipe beside them: {name} must have the shape "
                f"{list(geometry.weight_shape)}, got {got or 'none'}."
            )
    weights = {name: tensor.double().numpy() for name, tensor in tensors.items()}
    return _Finished(run, recipe, details["seed"], details["backend"], shapes, weights)


def _rate(found: _Finished, number: int, profile: Profile, asked: float | None) -> float:
    """The learning rate of a layer's pulses."""
    learn = found.recipe.layers[number - 1].learn
    if asked is None and (learn.optimiser != "sgd" or learn.momentum or learn.weight_decay):
        raise UsageError(
            f"The optimiser of layers.{number} in {found.path} must be plain sgd for its learning rate to be one of "
            f"pulses, which keep no moments. Got '{learn.optimiser}' with momentum {learn.momentum:g} and weight decay "
            f"{learn.weight_decay:g} instead; give a rate for pulses: --learning-rate 0.1"
        )
    return asked if asked is not None else learn.learning_rate * profile.learning.learning_rate_factor


def _matrix(found: _Finished, number: int) -> NDArray[Any]:
    weight = found.weights[f"layers.{number}.weight"]
    return weight.reshape(len(weight), -1)


def _layer(number: int, geometry: Geometry, found: _Finished, rate: float) -> dict[str, Any]:
    conv = isinstance(geometry, Conv2d)
    learn = found.recipe.layers[number - 1].learn
    return {
        "layer": number,
        "kind": "conv2d" if conv else "dense",
        "kernel": geometry.kernel if conv else None,
        "inputs": geometry.inputs,
        "outputs": geometry.outputs,
        "fan_in": geometry.fan_in,
        "row_order": "channel, kernel row, kernel column" if conv else "input",
        "learning_rate": rate,
        "rule": {
            "name": found.recipe.training.rule.name,
            **{key: getattr(learn, key) for key in ("theta_pos", "theta_neg", "penalty")},
            **found.recipe.training.rule.options,
        },
        "bias": f"layers.{number}.bias",
        "tiles": [],
    }


def _program(tile: Tile, profile: Profile, rate: float, seed: int) -> TileProgram:
    drawn = stream_seed(seed, "pulses", tile.name) & 0xFFFFFFFF
    gain = rate / (tile.scale * granularity(profile.device))
    rows, columns = tile.plus.shape
    return TileProgram(tile.name, scheme(profile), rows, columns, gain, tile.scale, drawn)


def scheme(profile: Profile) -> PulseScheme:
    """How a profile's trains are made; aihwkit turns update management on where pulse management is."""
    learning = profile.learning
    kind = "stochastic" if learning.pulses == "stochastic" else "mean-count"
    managed = learning.update_management or learning.pulse_management
    return PulseScheme(kind, int(learning.max_pulses), managed, learning.pulse_management)


def _tile(tile: Tile, program: TileProgram) -> dict[str, Any]:
    pulses = program.pulses()
    return {
        "name": tile.name,
        "rows": list(tile.rows),
        "columns": list(tile.columns),
        "scale": tile.scale,
        "clipped_weights": tile.clipped,
        "devices_to_program": len(tile.order),
        "gain": float(pulses.gain),
        "seed": program.seed,
        "constant": program.constant,
        "golden": program.golden(),
    }


def _converters(periphery: Periphery, read_volt: float, per_weight: float) -> dict[str, Any]:
    """Codes are integers from -code_top to code_top; null where a converter is continuous or without a bound."""

    def converter(bits: float | None, full: float | None, unit: str) -> dict[str, Any]:
        top = None if bits is None or full is None else max(1, 2 ** (int(bits) - 1) - 1)
        step = None if top is None or full is None else full / top
        shown = None if bits is None or top is None else int(bits)
        return {"bits": shown, "code_top": top, f"full_scale_{unit}": full, f"step_{unit}": step}

    perfect = periphery.perfect
    reach = None if perfect or periphery.adc_range is None else periphery.adc_range
    full = None if reach is None else reach * per_weight * read_volt
    return {
        "read_volt": read_volt,
        "dac": converter(None if perfect else periphery.dac_bits, read_volt, "volt"),
        "adc": converter(None if perfect else periphery.adc_bits, full, "ampere") | {"full_scale_w": reach},
        "ampere_per_w": per_weight * read_volt,
        "input_scaling": "none" if perfect else periphery.noise_management,
        "out_of_range": "none" if perfect else periphery.bound_management,
    }


def _pulses(profile: Profile, per_weight: float) -> dict[str, Any]:
    step, kind, device = granularity(profile.device), scheme(profile), profile.device
    return {
        "kind": kind.kind,
        "profile_asks_for": profile.learning.pulses,
        "max_pulses": kind.max_pulses,
        "update_management": kind.update_management,
        "pulse_management": kind.pulse_management,
        "generator": "xorshift32 (13, 17, 5), one a line, 16 bits a slot",
        "step_w": step,
        "step_siemens": step * per_weight,
        "pulse_s": device.write_time,
        "pulse_joule": device.write_energy,
    }


def _netlist_part(tile: Tile, profile: Profile, read_volt: float) -> dict[str, Any]:
    rows, columns = min(len(tile.plus), NETLIST_ROWS), min(tile.plus.shape[1], NETLIST_COLUMNS)
    volts = golden_codes(0, rows) / CODE_TOP * read_volt
    return {
        "tile": tile.name,
        "rows": rows,
        "columns": columns,
        "wire_ohm": profile.periphery.wire_resistance,
        "volts": volts.tolist(),
    }


def _checks(
    folder: Path,
    text: str,
    cut: tuple[NDArray[Any], NDArray[Any]],
    volts: NDArray[Any],
    wire: float,
    progress: Progress,
) -> dict[str, Any]:
    progress.start("checking the kernel and the netlist", 3)
    said = selftest(folder)
    progress.advance()
    plus, minus = cut
    wanted = volts @ (plus - minus)
    size = float((np.abs(volts) @ (plus + minus)).max()) or 1.0
    ideal = simulate(netlist(plus, minus, volts, 0.0, 0.0), plus.shape[1])
    progress.advance()
    wired = simulate(text, plus.shape[1]) if wire else ideal
    progress.advance()
    progress.finish()
    largest = float(np.abs(wanted).max()) or 1.0
    if (worst := float(np.abs(ideal - wanted).max()) / size) > 1e-6:
        raise ScffError(f"The netlist must give the product of the digital reference, but is {worst:.1e} of it off.")
    return {
        "selftest": said,
        "netlist_without_wires": worst,
        "ir_drop_of_largest_output": float(np.abs(wired - wanted).max()) / largest,
    }
