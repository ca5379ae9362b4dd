"""Export for an in-memory chip: tile map, target conductances, converters, and updates as pulse programs."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scff_hw.documents import SCHEMA, CrossbarManifest
from scff_hw.documents.manifests import CrossbarChecks
from scff_hw.errors import CheckpointError, ScffError, UsageError
from scff_hw.export.crossbar.c_driver import TileProgram, selftest, write_c
from scff_hw.export.crossbar.mapping import Tile, conductances, tiles
from scff_hw.export.crossbar.program import (
    conductance_range,
    converters,
    layer_entry,
    netlist_part,
    pulse_scheme,
    tile_entry,
    tile_program,
)
from scff_hw.export.crossbar.spice import netlist, simulate
from scff_hw.export.crossbar.text import readme
from scff_hw.export.exporter import Exporter
from scff_hw.export.toolchain import required
from scff_hw.files import AnyPath
from scff_hw.hardware import Profile, dump_profile
from scff_hw.training.build import geometries
from scff_hw.training.finished import FinishedRun
from scff_hw.training.progress import Progress
from scff_hw.training.run_folder import PROFILE, RECIPE, WEIGHTS

FORMAT: Literal["scff-hw crossbar program"] = "scff-hw crossbar program"
VERSION: Literal[1] = 1
PROGRAM, ARRAYS, NETLIST = "program.json", "tiles.npz", "tile.cir"

READ_VOLT = 0.2
"""Default voltage of a full-scale input: no profile gives one, and this is low for most devices."""
READ_VOLT_RANGE = (1e-3, 10.0)

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
class _Mapped:
    """All tiles of a run: `layers` of `program.json`, their pulses, the arrays of `tiles.npz`, and the first tile."""

    layers: list[dict[str, Any]]
    programs: list[TileProgram]
    arrays: dict[str, NDArray[Any]]
    first: Tile


@dataclass(frozen=True)
class CrossbarOptions:
    """Attributes:
    profile: hardware with `device.g_min` and `device.g_max`.
    learning_rate: rate of all weights; None: the recipe's, times the profile's `learning.learning_rate_factor`.
    read_volt: voltage of a full-scale input, 1 mV to 10 V.
    check: also compile the kernel and run its golden vectors, and solve the netlist with ngspice.
    """

    profile: Profile
    learning_rate: float | None = None
    read_volt: float = READ_VOLT
    check: bool = False

    def __post_init__(self) -> None:
        rate = self.learning_rate
        if rate is not None and not (math.isfinite(rate) and rate > 0):
            raise UsageError(
                f"The learning rate of a crossbar program must be a finite number > 0. Got {rate:g} instead."
            )
        low, high = READ_VOLT_RANGE
        if not low <= self.read_volt <= high:
            raise UsageError(
                f"The read voltage of a crossbar program must be {low:g} V to {high:g} V. "
                f"Got {self.read_volt:g} instead."
            )


class CrossbarExporter(Exporter[CrossbarOptions, CrossbarManifest]):
    """Exports a run of any backend as a program for crossbars of a profile's devices."""

    name = "crossbar"
    Options = CrossbarOptions

    def check(self, run: FinishedRun, options: CrossbarOptions) -> None:
        if options.check:
            required("gcc")
            required("ngspice")
        conductances(options.profile)
        _check_run(run)
        _rates(run, options)

    def write(self, run: FinishedRun, options: CrossbarOptions, out: Path, progress: Progress) -> CrossbarManifest:
        profile, read_volt = options.profile, options.read_volt
        mapping = conductances(profile)
        mapped = _mapped(run, profile, _rates(run, options), progress)
        part = netlist_part(mapped.first, profile, read_volt)
        program = {
            "format": FORMAT,
            "version": VERSION,
            "units": UNITS,
            "cell": profile.array.cell,
            "conductance": conductance_range(mapping, profile),
            "converters": converters(profile.periphery, read_volt, mapping.per_weight),
            "pulses": pulse_scheme(profile, mapping.per_weight),
            "netlist": part,
            "layers": mapped.layers,
        }
        entries = [tile for layer in mapped.layers for tile in layer["tiles"]]
        manifest = _manifest(run, profile, entries)
        plus, minus = (matrix[: part["rows"], : part["columns"]] for matrix in (mapped.first.plus, mapped.first.minus))
        title = f"{mapped.first.name} of {run.recipe.name} on {profile.name}"
        text = netlist(plus, minus, np.array(part["volts"]), part["wire_ohm"], part["wire_ohm"], title)
        names = {"recipe": manifest.recipe, "run": manifest.run, "profile": manifest.profile}
        write_c(out, mapped.programs, [tile["golden"] for tile in entries], names | {"version": version("scff-hw")})
        _write_arrays(out / ARRAYS, mapped.arrays)
        texts = {
            PROGRAM: json.dumps(program, indent=1) + "\n",
            NETLIST: text,
            RECIPE: run.folder.read_text(RECIPE),
            PROFILE: dump_profile(profile),
            "README.md": readme(manifest, program),
        }
        for name, content in texts.items():
            (out / name).write_text(content, encoding="utf-8")
        if options.check:
            return manifest.model_copy(update={"checks": _checks(out, text, plus, minus, part, progress)})
        return manifest


def export_crossbar(
    run: AnyPath,
    profile: Profile,
    out: AnyPath,
    *,
    learning_rate: float | None = None,
    read_volt: float = READ_VOLT,
    check: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write a finished run of any backend as a crossbar program; after an error `out` does not exist.

    Args:
        out: a folder that does not exist, or is empty.
        profile, learning_rate, read_volt, check: see `CrossbarOptions`.

    Returns:
        The folder's `manifest.json`.

    Raises:
        UsageError: the run, the profile, the folder or a number cannot be used.
        CheckpointError: not a finished run.
        MissingPartError: `check` without gcc or ngspice.
        ScffError: a check failed.
    """
    options = CrossbarOptions(profile, learning_rate, read_volt, check)
    return CrossbarExporter().export_folder(run, out, options, progress=progress).as_json()


def _manifest(run: FinishedRun, profile: Profile, entries: list[dict[str, Any]]) -> CrossbarManifest:
    """Return the manifest of a program with these tile entries."""
    return CrossbarManifest(
        schema=SCHEMA,
        format=FORMAT,
        version=VERSION,
        made_by=f"scff-hw {version('scff-hw')}",
        run=run.path.name,
        recipe=run.recipe.name,
        profile=profile.name,
        backend=run.backend,
        seed=run.seed,
        tiles=len(entries),
        devices_to_program=sum(tile["devices_to_program"] for tile in entries),
        weights=sum(math.prod(to - start for start, to in (tile["rows"], tile["columns"])) for tile in entries),
        clipped_weights=sum(tile["clipped_weights"] for tile in entries),
    )


def _write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a reproducible .npz file: `np.savez` would store the time in it."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy")
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def _check_run(run: FinishedRun) -> None:
    """Refuse a run whose weights cannot be mapped to tiles."""
    if run.recipe.data.has_sequences:
        raise UsageError(
            f"The layers of a crossbar program must be feed-forward. Got the recurrent layer of {run.path} instead."
        )
    for layer, geometry in geometries(run.recipe).items():
        name = f"{layer}.weight"
        got = list(run.weights[name].shape) if name in run.weights else None
        if got != list(geometry.weight_shape) or f"{layer}.bias" not in run.weights:
            raise CheckpointError(
                f"The weights in {run.path / WEIGHTS} are not those of the recipe beside them: {name} must have the "
                f"shape {list(geometry.weight_shape)}, got {got or 'none'}."
            )


def _rate(run: FinishedRun, number: int, profile: Profile, override: float | None) -> float:
    """Return the learning rate of a layer's pulses."""
    learn = run.recipe.layers[number - 1].learn
    if override is None and (learn.optimiser != "sgd" or learn.momentum or learn.weight_decay):
        raise UsageError(
            f"The optimiser of layers.{number} in {run.path} must be plain sgd for its learning rate to be one of "
            f"pulses, which keep no moments. Got '{learn.optimiser}' with momentum {learn.momentum:g} and weight decay "
            f"{learn.weight_decay:g} instead; give a rate for pulses: --learning-rate 0.1"
        )
    return override if override is not None else learn.learning_rate * profile.learning.learning_rate_factor


def _rates(run: FinishedRun, options: CrossbarOptions) -> list[float]:
    """Return the learning rate of each layer's pulses."""
    numbers = range(1, len(run.recipe.layers) + 1)
    return [_rate(run, number, options.profile, options.learning_rate) for number in numbers]


def _mapped(run: FinishedRun, profile: Profile, rates: list[float], progress: Progress) -> _Mapped:
    progress.start("mapping layers", len(rates))
    weights = {name: tensor.double().numpy() for name, tensor in run.weights.items()}
    layers: list[dict[str, Any]] = []
    programs: list[TileProgram] = []
    mapped_tiles: list[Tile] = []
    for number, ((name, geometry), rate) in enumerate(zip(geometries(run.recipe).items(), rates, strict=True), start=1):
        layer, weight = layer_entry(number, geometry, run.recipe, rate), weights[f"{name}.weight"]
        for tile in tiles(name, weight.reshape(len(weight), -1), profile):
            mapped_tiles.append(tile)
            programs.append(tile_program(tile, profile, rate, run.seed))
            layer["tiles"].append(tile_entry(tile, programs[-1]))
        layers.append(layer)
        progress.advance()
    progress.finish()
    arrays = {f"{tile.name}.{key}": getattr(tile, key) for tile in mapped_tiles for key in ("plus", "minus", "order")}
    arrays |= {name: value for name, value in weights.items() if name.startswith("readout.") or "bias" in name}
    return _Mapped(layers, programs, arrays, mapped_tiles[0])


def _checks(
    folder: Path, text: str, plus: NDArray[Any], minus: NDArray[Any], part: dict[str, Any], progress: Progress
) -> CrossbarChecks:
    progress.start("checking the kernel and the netlist", 3)
    verdict = selftest(folder)
    progress.advance()
    volts = np.array(part["volts"])
    expected = volts @ (plus - minus)
    ideal = simulate(netlist(plus, minus, volts, 0.0, 0.0), plus.shape[1])
    progress.advance()
    wired = simulate(text, plus.shape[1]) if part["wire_ohm"] else ideal
    progress.advance()
    progress.finish()
    total = float((np.abs(volts) @ (plus + minus)).max()) or 1.0
    if (worst := float(np.abs(ideal - expected).max()) / total) > 1e-6:
        raise ScffError(f"The netlist must give the product of the digital reference, but is {worst:.1e} of it off.")
    largest = float(np.abs(expected).max()) or 1.0
    return CrossbarChecks(
        selftest=verdict,
        netlist_without_wires=worst,
        ir_drop_of_largest_output=float(np.abs(wired - expected).max()) / largest,
    )
