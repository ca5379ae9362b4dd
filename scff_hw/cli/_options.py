"""Options shared by several commands."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

MOST_SEEDS = 10_000


def at_least(least: int, most: int | None = None) -> Callable[[int | None], int | None]:
    """Return a range check of an optional integer; unlike that of typer, its message names the value."""

    def check(value: int | None) -> int | None:
        if value is not None and value < least:
            raise typer.BadParameter(f"{number_text(value)} is less than {least}.")
        if value is not None and most is not None and value > most:
            raise typer.BadParameter(f"{number_text(value)} is more than {most}.")
        return value

    return check


def is_seed(value: int | None) -> int | None:
    """Return the range check of a seed."""
    from scff_hw.documents.base import LARGEST_SEED  # not at the top: imports pydantic, which help does not need

    return at_least(0, LARGEST_SEED)(value)


def number_text(value: int) -> str:
    """Return an integer as text for a message; large values are shortened."""
    return str(value) if abs(value) < 10**30 else f"{value:#x}"[:30] + "..."


def file_name(value: Path | None) -> Path | None:
    """Check that the name of a new file is one line without control characters."""
    if value is not None and any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in str(value)):
        raise typer.BadParameter(f"{str(value)!r} must be a name on one line, without control characters.")
    return value


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object to standard output.")]

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Folder of the data sets [default: $SCFF_HW_DATA, else the user's cache]."),
]

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the recipe, e.g. training.batch_size=50."),
]

ProfileOption = Annotated[
    str | None,
    typer.Option("--profile", metavar="NAME|FILE", help="Hardware; see: scff-hw profiles list. [analog: ideal]"),
]
