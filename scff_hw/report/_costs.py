"""What a run costs on a digital target, as tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from scff_hw.report._tables import plain_table

PREFIXES = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"))


def kibibytes(count: float) -> str:
    """Return a number of bytes as a reader says it: "640 B", "12.5 KiB", "1 376.5 KiB"."""
    return f"{count:.0f} B" if count < 1024 else f"{count / 1024:,.1f} KiB".replace(",", " ")


def with_prefix(value: float, unit: str) -> str:
    """Return a time or an energy with three digits and a prefix: "13.2 ms", "0 s"."""
    for size, prefix in PREFIXES:
        if value >= size:
            return f"{value / size:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"


def cost_tables(found: Mapping[str, Any]) -> Group:
    """Return the object of `scff_hw.training.run_costs` as tables: the tasks, then the layers, then what was assumed."""
    costs = found["costs"]
    tasks = plain_table("", "fits", "flash", "RAM", "MACs", "time", "energy")
    tasks.add_row("inference", *_cells(costs["inference"]))
    for task in ("learning", "backpropagation"):
        for cost in costs[task]:
            style = "yellow" if task == "backpropagation" else "bold cyan"
            tasks.add_row(f"{task}, batch of {cost['batch_size']}", *_cells(cost), style=style)
    layers = plain_table("", "constants", "RAM to infer", "RAM to learn", "MACs to infer", "MACs to learn")
    for layer in costs["layers"]:
        infer, learn = layer["inference"], layer["learning"]
        layers.add_row(
            f"layer {layer['layer']}",
            kibibytes(infer["constant_bytes"]),
            kibibytes(infer["buffer_bytes"]),
            "-" if learn is None else kibibytes(learn["buffer_bytes"]),
            _count(infer["macs"]),
            "-" if learn is None else _count(learn["macs"]),
        )
    bits = ", ".join(f"{name.removesuffix('_bits')} {value}" for name, value in costs["formats"].items())
    origin = "of the run's recipe" if costs["formats_from"] == "recipe" else "the defaults, its recipe gives none"
    free = f"{kibibytes(costs['flash_available_bytes'])} of flash and {kibibytes(costs['ram_available_bytes'])} of RAM"
    notes = Text(
        f"{costs['chip']}: {free} free for the network. Bits ({origin}): {bits}. Time and energy are those of one "
        "sample, from the profile's cycles and energies; nothing is measured.",
        style="dim",
    )
    return Group(Text(f"{found['recipe']} on {found['profile']}", style="bold"), tasks, layers, notes)


def _cells(cost: Mapping[str, Any]) -> tuple[str, ...]:
    missing = [
        f"{kibibytes(cost[f'{key}_missing_bytes'])} of {name}"
        for key, name in (("flash", "flash"), ("ram", "RAM"))
        if cost[f"{key}_missing_bytes"]
    ]
    return (
        "no, misses " + " and ".join(missing) if missing else "yes",
        kibibytes(cost["flash_bytes"]),
        kibibytes(cost["ram_bytes"]),
        _count(cost["macs"]),
        with_prefix(cost["time_s"], "s"),
        with_prefix(cost["energy_joule"], "J"),
    )


def _count(value: int) -> str:
    return f"{value:,}".replace(",", " ")
