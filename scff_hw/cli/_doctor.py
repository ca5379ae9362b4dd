"""`scff-hw doctor`: checks the installation and prints fixes for problems."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from scff_hw.cli._options import DataDir, Json
from scff_hw.cli._output import emit_json, say, show

SIGNS = {"ok": ("ok", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "bold red")}


def doctor(
    deep: Annotated[bool, typer.Option("--deep", help="Also compile and run a small function.")] = False,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Check the installation and print a fix for each problem. Exit code 1 if a fix is necessary."""
    from scff_hw.doctor import diagnose

    checks = diagnose(deep=deep, data_dir=data_dir)
    failed = [check.name for check in checks if check.status == "fail"]
    if json:
        emit_json({"ok": not failed, "checks": [asdict(check) for check in checks]})
    else:
        table = Table.grid(padding=(0, 2))
        for check in checks:
            sign, style = SIGNS[check.status]
            table.add_row(Text(sign, style=style), check.name, Text(check.found))
            if check.advice:
                table.add_row("", "", Text(f"fix: {check.advice}", style="dim"))
        show(table)
        warned = sum(check.status == "warn" for check in checks)
        say(f"{len(failed)} to fix, {warned} that cost speed, data or a part." if failed or warned else "No problems.")
    if failed:
        raise typer.Exit(1)
