"""Costs of a run on a digital target, as tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from scff_hw.report._tables import _stack, _table

PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"))


def format_bytes(count: int) -> str:
    """Return a number of bytes as text: "640 B", "12.5 KiB", "1.34 MiB"."""
    if count < 1024:
        return f"{count} B"
    return f"{count / 1024:.1f} KiB" if count < 1024**2 else f"{count / 1024**2:.2f} MiB"


def with_prefix(value: float, unit: str = "") -> str:
    """Return a value to three digits with SI prefix: "13.2 ms", "432 M", "1.22 G"; with a unit, no prefix above 1."""
    rounded = float(f"{value:.3g}")
    prefixes = [pair for pair in PREFIXES if not unit or pair[0] <= 1]
    size, prefix = next((pair for pair in prefixes if rounded >= pair[0]), (1.0, ""))
    digits = f"{rounded:.0f}" if rounded >= 1000 * size else f"{rounded / size:.3g}"
    return f"{digits} {prefix}{unit}".rstrip()


def cost_table(run_costs: Mapping[str, Any]) -> Table:
    """Return the result of `scff_hw.training.run_costs` as a table: tasks, layers, and the assumptions."""
    costs = run_costs["costs"]
    tasks = _table("flash", "RAM", "too large by", "MACs", "time", "energy")
    tasks.add_row("inference", *_cells(costs["inference"]))
    for task, name, style in (("learning", "learning", "bold cyan"), ("backpropagation", "backprop", "yellow")):
        for cost in costs[task]:
            tasks.add_row(f"{name}, batch {cost['batch_size']}", *_cells(cost), style=style)
    layers = _table("flash", "RAM to infer", "RAM to learn", "MACs to infer", "MACs to learn")
    for layer in costs["layers"]:
        infer, learn = layer["inference"], layer["learning"]
        layers.add_row(
            f"layer {layer['layer']}",
            format_bytes(infer["flash_bytes"]),
            format_bytes(infer["ram_bytes"]),
            "-" if learn is None else format_bytes(learn["ram_bytes"]),
            with_prefix(infer["macs"]),
            "-" if learn is None else with_prefix(learn["macs"]),
        )
    bits = ", ".join(f"{name.removesuffix('_bits')} {value}" for name, value in costs["formats"].items())
    flash, ram = (format_bytes(costs[f"{name}_available_bytes"]) for name in ("flash", "ram"))
    notes = Text(
        f"{costs['chip']}: {flash} of flash and {ram} of RAM for the network. Bits: {bits}. MACs, time and energy are "
        "those of one sample, from the profile's cycles and energies; nothing is measured.",
        style="dim",
    )
    return _stack(f"{run_costs['recipe']} on {run_costs['profile']}", [tasks, layers, notes])


def _cells(cost: Mapping[str, Any]) -> tuple[str, ...]:
    missing = [
        f"{format_bytes(cost[key])} {name}"
        for key, name in (("flash_missing_bytes", "flash"), ("ram_missing_bytes", "RAM"))
        if cost[key]
    ]
    return (
        format_bytes(cost["flash_bytes"]),
        format_bytes(cost["ram_bytes"]),
        ", ".join(missing) or "fits",
        with_prefix(cost["macs"]),
        with_prefix(cost["time_s"], "s"),
        with_prefix(cost["energy_joule"], "J"),
    )
