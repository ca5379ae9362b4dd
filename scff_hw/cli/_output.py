"""Output: text and tables for people on standard error, one JSON object for programs on standard output."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from typing import IO, Any, TextIO, cast

from rich.console import Console
from rich.table import Table

from scff_hw.errors import ScffError

# Width of tables if standard error is a file or a pipe.
PLAIN_WIDTH = 110


def console() -> Console:
    """Return a console on the current standard error."""
    file = None if sys.stderr is None else cast(IO[str], _Lasting(sys.stderr))
    terminal = Console(file=file, stderr=True, highlight=False)
    return terminal if terminal.is_terminal else Console(file=file, stderr=True, highlight=False, width=PLAIN_WIDTH)


class _Lasting:
    """Standard error that tolerates a closed pipe, e.g. `2>&1 | head -1`: further output is discarded."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            self._discard()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._discard()

    def _discard(self) -> None:
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())


def say(text: str, style: str = "") -> None:
    """Print one line to standard error, without markup or wrapping."""
    console().print(text, style=style, markup=False, soft_wrap=True)


def show(table: Table) -> None:
    """Print a table to standard error."""
    console().print(table)


def emit(text: str) -> None:
    """Print a document to standard output.

    Raises:
        ScffError: standard output is closed.
    """
    if sys.stdout is None:
        raise ScffError("Standard output is closed, so the result could not be printed there.")
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()


def emit_json(value: Any) -> None:
    """Print one JSON object on one line to standard output, in ASCII, independent of the encoding."""
    emit(json.dumps(value))
