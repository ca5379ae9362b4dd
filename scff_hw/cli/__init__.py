"""The command line: `scff-hw`, or `python -m scff_hw`. Progress and tables go to standard error."""

from scff_hw.cli._app import app, main

__all__ = ["app", "main"]
