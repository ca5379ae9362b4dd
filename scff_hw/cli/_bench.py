"""`scff-hw bench`: speed on this machine, relative to the literal algorithm."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from scff_hw.cli._options import Json, at_least
from scff_hw.cli._output import emit_json, say, show
from scff_hw.cli._progress import command_progress


def bench(
    name: Annotated[
        str, typer.Argument(help="Benchmark: core, analog, fixed, kernels, recurrent, or one of an installed package.")
    ],
    only: Annotated[str, typer.Option(help="Run only cases whose name contains this text.")] = "",
    repeats: Annotated[int, typer.Option(callback=at_least(1, 10_000), help="Timed runs per case.")] = 5,
    threads: Annotated[int, typer.Option(callback=at_least(1, 1024), help="Number of PyTorch threads.")] = 2,
    json: Json = False,
) -> None:
    """Measure speed on this machine, each case relative to a reference implementation in the same run.

    kernels counts instructions of exported C on emulated cores; --repeats and --threads have no effect there.
    """
    from inspect import signature

    from scff_hw.bench import BENCHMARKS

    benchmark = BENCHMARKS.get(name)
    timed = {"repeats": repeats, "threads": threads} if "repeats" in signature(benchmark).parameters else {}
    with command_progress() as progress:
        result = benchmark(progress=progress, only=only, **timed)
    if json:
        emit_json(result)
    else:
        show(case_table(result["cases"]))
        say(", ".join(f"{key} {value}" for key, value in result.get("machine", {}).items()), style="dim")


def case_table(cases: list[dict[str, Any]]) -> Table:
    """Return a table with one row per case: name, ratio, and all other measurements."""
    others = [key for key in cases[0] if key not in ("name", "ratio")]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("case", no_wrap=True)
    for key in ("ratio", *others):
        table.add_column(key.replace("_", " "), justify="right")
    for case in cases:
        table.add_row(case["name"], f"{case['ratio']:.2f} x", *(_cell(case.get(key)) for key in others))
    return table


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return " .. ".join(map(_cell, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
