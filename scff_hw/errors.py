"""The errors scff-hw raises on purpose, and the exit code each one becomes on the command line.

Every message is one sentence that names the place, the value found and what is allowed there.
"""

from __future__ import annotations

from collections.abc import Iterable


class ScffError(Exception):
    """Something went wrong that is not the user's input: exit code 1."""

    exit_code = 1


class UsageError(ScffError, ValueError):
    """Input that cannot be used (an argument, a file, a value): exit code 2."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe that does not validate."""


class ProfileError(UsageError):
    """A hardware profile that does not validate, or measurements that give none."""


class MissingPartError(UsageError):
    """An optional part of the installation that is not there or does not work; the message says how to get it."""


class DataError(UsageError):
    """A data set that is missing, truncated or corrupt."""


class CheckpointError(UsageError):
    """A run or checkpoint that cannot be used here."""


class BusyError(ScffError):
    """A folder that another process is using."""


class DownloadError(ScffError):
    """A download that did not complete."""


class DivergenceError(ScffError):
    """Learning produced a value that is not finite, or outgrew its bounds."""


class WidthError(ScffError):
    """An integer that needs more bits than its format declares."""


class ExportError(ScffError):
    """A file that was written is not what it should be: nothing is exported."""


LONGEST_NAME = 100
"""Characters; comparing takes a time that grows with their square, and no name is longer."""


def nearest(name: object, allowed: Iterable[object], otherwise: str = "") -> str:
    """Return `"; did you mean 'x'?"` for the closest of `allowed` as text, or `otherwise`."""
    from difflib import get_close_matches

    text = str(name)
    if len(text) > LONGEST_NAME:
        return otherwise
    match = get_close_matches(text, [str(known) for known in allowed], n=1, cutoff=0.5)
    return f"; did you mean '{match[0]}'?" if match else otherwise
