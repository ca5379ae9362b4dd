"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer


def at_least(least: int) -> Callable[[int | None], int | None]:
    """A check of a whole number, or none, that names the value it refuses, which typer's own bounds do not."""

    def check(value: int | None) -> int | None:
        if value is not None and value < least:
            raise typer.BadParameter(f"{value} is less than {least}.")
        return value

    return check


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object to standard output.")]

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Where the data sets are; else $SCFF_HW_DATA, else the user's cache."),
]

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the recipe, e.g. readout.epochs=5."),
]

ProfileOption = Annotated[
    str | None,
    typer.Option("--profile", metavar="NAME|FILE", help="Hardware; see: scff-hw profiles list. [analog: ideal]"),
]
