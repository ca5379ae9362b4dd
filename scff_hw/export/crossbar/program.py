"""The entries of `program.json`: a run, its tiles and the hardware, as JSON values."""

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
"""Largest number of lines of the first tile in the netlist; ngspice solves this size in a moment."""


def layer_entry(number: int, geometry: Geometry, recipe: Recipe, rate: float) -> dict[str, Any]:
    """Return a layer's entry, without its tiles; `rate` is the learning rate of its weights."""
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
            "errors": "scff" if _has_scff_errors(recipe) else "the rule's own code, which is not part of this program",
        },
        "bias": f"layers.{number}.bias",
        "tiles": [],
    }


def _has_scff_errors(recipe: Recipe) -> bool:
    rule = rule_class(recipe.training.rule.name)
    parts = ("errors", "gains")
    return issubclass(rule, SCFF) and all(getattr(rule, part) is getattr(SCFF, part) for part in parts)


def tile_program(tile: Tile, profile: Profile, rate: float, seed: int) -> TileProgram:
    """Return a tile's pulse program; its generators are seeded from the stream (seed, "pulses", tile name)."""
    tile_seed = stream_seed(seed, "pulses", tile.name) & 0xFFFFFFFF
    gain = rate / (tile.scale * granularity(profile.device))
    rows, columns = tile.plus.shape
    return TileProgram(tile.name, scheme(profile), rows, columns, gain, tile.scale, tile_seed)


def scheme(profile: Profile) -> PulseScheme:
    """Return a profile's pulse scheme; as in aihwkit, pulse management implies update management."""
    learning = profile.learning
    kind = "stochastic" if learning.pulses == "stochastic" else "mean-count"
    managed = learning.update_management or learning.pulse_management
    return PulseScheme(kind, int(learning.max_pulses), managed, learning.pulse_management)


def conductance_range(mapping: Conductances, profile: Profile) -> dict[str, Any]:
    """Return the mapping from weights to conductances."""
    return {
        "g_min_siemens": mapping.g_min,
        "g_max_siemens": mapping.g_max,
        "zero_siemens": mapping.zero,
        "siemens_per_w": mapping.per_weight,
        "w_min": mapping.w_min,
        "w_max": mapping.w_max,
        "source": profile.source_of("device.g_max"),
    }


def tile_entry(tile: Tile, program: TileProgram) -> dict[str, Any]:
    """Return a tile's entry: its position in the layer, its scale, its pulses and their golden vectors."""
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
    """DAC and ADC: codes are integers from -code_top to code_top; null for a continuous or unbounded converter."""

    def converter(bits: float | None, full: float | None, unit: str) -> dict[str, Any]:
        top = None if bits is None or full is None else 2 ** (int(bits) - 1) - 1
        step = None if top is None or full is None else full / top
        whole_bits = None if bits is None or top is None else int(bits)
        return {"bits": whole_bits, "code_top": top, f"full_scale_{unit}": full, f"step_{unit}": step}

    perfect = periphery.perfect
    adc_range = None if perfect or periphery.adc_range is None else periphery.adc_range
    full = None if adc_range is None else adc_range * per_weight * read_volt
    return {
        "read_volt": read_volt,
        "dac": converter(None if perfect else periphery.dac_bits, read_volt, "volt"),
        "adc": converter(None if perfect else periphery.adc_bits, full, "ampere") | {"full_scale_w": adc_range},
        "ampere_per_w": per_weight * read_volt,
        "input_scaling": "none" if perfect else periphery.noise_management,
        "out_of_range": "none" if perfect else periphery.bound_management,
    }


def pulse_scheme(profile: Profile, per_weight: float) -> dict[str, Any]:
    """The pulse scheme and the properties of one pulse; `per_weight`: siemens per weight of 1 on the crossbar."""
    step, kind, device = granularity(profile.device), scheme(profile), profile.device
    return {
        "kind": kind.kind,
        "profile_asks_for": profile.learning.pulses,
        "max_pulses": kind.max_pulses,
        "update_management": kind.update_management,
        "pulse_management": kind.pulse_management,
        "generator": "xorshift32 (13, 17, 5), one per line, 16 bits per slot",
        "step_w": step,
        "step_siemens": step * per_weight,
        "pulse_s": device.write_time,
        "pulse_joule": device.write_energy,
    }


def netlist_part(tile: Tile, profile: Profile, read_volt: float) -> dict[str, Any]:
    """Return the corner of a tile in the netlist, and its input voltages."""
    rows, columns = min(len(tile.plus), NETLIST_ROWS), min(tile.plus.shape[1], NETLIST_COLUMNS)
    volts = golden_codes(0, rows) / CODE_TOP * read_volt
    return {
        "tile": tile.name,
        "rows": rows,
        "columns": columns,
        "wire_ohm": profile.periphery.wire_resistance,
        "volts": volts.tolist(),
    }
