"""What goes where: people read standard error, programs read one JSON object on standard output."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console
from rich.table import Table

# Where standard error is a file or a pipe, tables keep their shape instead of guessing a terminal's width.
PLAIN_WIDTH = 110


def console() -> Console:
    """Return a console on the standard error of this moment."""
    shown = Console(stderr=True, highlight=False)
    return shown if shown.is_terminal else Console(stderr=True, highlight=False, width=PLAIN_WIDTH)


def say(text: str, style: str = "") -> None:
    """Print one line to standard error, as it is: no markup, no wrapping."""
    console().print(text, style=style, markup=False, soft_wrap=True)


def show(table: Table) -> None:
    """Print a table to standard error."""
    console().print(table)


def emit(text: str) -> None:
    """Print a document to standard output."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()


def emit_json(value: Any) -> None:
    """Print one JSON object, on one line, to standard output."""
    emit(json.dumps(value, ensure_ascii=False))
