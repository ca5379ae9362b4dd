"""Options that several commands share."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

MOST_SEEDS = 10_000
LARGEST_SEED = 2**63 - 1


def at_least(least: int, most: int | None = None) -> Callable[[int | None], int | None]:
    """A check of a whole number, or none, that names the value it refuses, which typer's own bounds do not."""

    def check(value: int | None) -> int | None:
        if value is not None and value < least:
            raise typer.BadParameter(f"{shown(value)} is less than {least}.")
        if value is not None and most is not None and value > most:
            raise typer.BadParameter(f"{shown(value)} is more than {most}.")
        return value

    return check


def shown(value: int) -> str:
    """A whole number for a message; a huge one shortened."""
    return str(value) if abs(value) < 10**30 else f"{value:#x}"[:30] + "..."


def file_name(value: Path | None) -> Path | None:
    """A check of the name of something to make: on one line, so that reports and messages can hold it."""
    if value is not None and any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in str(value)):
        raise typer.BadParameter(f"{str(value)!r} must be a name on one line, without control characters.")
    return value


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
