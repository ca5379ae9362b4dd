"""What `program.json` says of a run, its tiles and the hardware, in JSON values."""

from __future__ import annotations

from typing import Any

from scff_hw.backends import Geometry
from scff_hw.core.random import stream_seed
from scff_hw.core.rules import SCFF, rule_class
from scff_hw.export.crossbar.c_driver import TileProgram, golden_codes
from scff_hw.export.crossbar.mapping import Tile, granularity
from scff_hw.export.crossbar.pulses import CODE_TOP, PulseScheme
from scff_hw.hardware import Profile
from scff_hw.hardware.conductances import Conductances
from scff_hw.hardware.schema import Periphery
from scff_hw.recipes import Recipe

NETLIST_ROWS, NETLIST_COLUMNS = 32, 16
"""Lines of the first tile that the netlist holds at most: what ngspice solves in a moment."""


def layer_entry(number: int, geometry: Geometry, recipe: Recipe, rate: float) -> dict[str, Any]:
    """A layer without its tiles; `rate` is of its weights."""
    learn = recipe.layers[number - 1].learn
    return {
        "layer": number,
        "kind": geometry.kind,
        "kernel": geometry.window,
        "inputs": geometry.inputs,
        "outputs": geometry.outputs,
        "fan_in": geometry.fan_in,
        "row_order": geometry.row_order,
        "learning_rate": rate,
        "rule": {
            "name": recipe.training.rule.name,
            **{key: getattr(learn, key) for key in ("theta_pos", "theta_neg", "penalty")},
            **recipe.training.rule.options,
            "errors": "scff" if _errs_as_scff(recipe) else "the rule's own code, which is not part of this program",
        },
        "bias": f"layers.{number}.bias",
        "tiles": [],
    }


def _errs_as_scff(recipe: Recipe) -> bool:
    rule = rule_class(recipe.training.rule.name)
    parts = ("errors", "modulation")
    return issubclass(rule, SCFF) and all(getattr(rule, part) is getattr(SCFF, part) for part in parts)


def tile_program(tile: Tile, profile: Profile, rate: float, seed: int) -> TileProgram:
    """A tile's pulses; its generators draw from the stream (seed, "pulses", its name)."""
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


def conductance_range(held: Conductances, profile: Profile) -> dict[str, Any]:
    """What weights are as conductances."""
    return {
        "g_min_siemens": held.g_min,
        "g_max_siemens": held.g_max,
        "zero_siemens": held.zero,
        "siemens_per_w": held.per_weight,
        "w_min": held.w_min,
        "w_max": held.w_max,
        "source": profile.source_of("device.g_max"),
    }


def tile_entry(tile: Tile, program: TileProgram) -> dict[str, Any]:
    """A tile: where it lies, its scale, its pulses and their golden vector."""
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


def converters(periphery: Periphery, read_volt: float, per_weight: float) -> dict[str, Any]:
    """Codes are integers from -code_top to code_top; null where a converter is continuous or without a bound."""

    def converter(bits: float | None, full: float | None, unit: str) -> dict[str, Any]:
        top = None if bits is None or full is None else 2 ** (int(bits) - 1) - 1
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


def pulse_scheme(profile: Profile, per_weight: float) -> dict[str, Any]:
    """How trains are made, and what a pulse is; `per_weight` is siemens of a weight of 1 on the crossbar."""
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


def netlist_part(tile: Tile, profile: Profile, read_volt: float) -> dict[str, Any]:
    """The corner of a tile that the netlist holds, and what drives it."""
    rows, columns = min(len(tile.plus), NETLIST_ROWS), min(tile.plus.shape[1], NETLIST_COLUMNS)
    volts = golden_codes(0, rows) / CODE_TOP * read_volt
    return {
        "tile": tile.name,
        "rows": rows,
        "columns": columns,
        "wire_ohm": profile.periphery.wire_resistance,
        "volts": volts.tolist(),
    }
