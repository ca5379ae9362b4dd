"""The errors that scff-hw raises, and the exit code of each on the command line.

Every message is one sentence: where the error is, the value found, and what is allowed.
"""

from __future__ import annotations

from collections.abc import Iterable


class ScffError(Exception):
    """A failure that is not caused by the user's input: exit code 1."""

    exit_code = 1


class UsageError(ScffError, ValueError):
    """Input that cannot be used (an argument, a file, a value): exit code 2."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe that does not validate."""


class ProfileError(UsageError):
    """A hardware profile that does not validate, or measurements that no profile can be fitted to."""


class MissingPartError(UsageError):
    """An optional dependency that is missing or does not work; the message names the command that installs it."""


class DataError(UsageError):
    """A data set that is missing, truncated or corrupt."""


class CheckpointError(UsageError):
    """A run or checkpoint that cannot be read, is not finished, or does not match its recipe."""


class BusyError(ScffError):
    """A folder that another process is using."""


class DownloadError(ScffError):
    """A download that did not complete."""


class DivergenceError(ScffError):
    """A value in learning that is not finite or exceeds its bounds."""


class WidthError(ScffError):
    """An integer that needs more bits than its format declares."""


class ExportError(ScffError):
    """An exported file that failed its check; nothing is exported."""


LONGEST_NAME = 100
"""Longest name, in characters, that `nearest` compares: the time is quadratic, and no valid name is longer."""


def nearest(name: object, allowed: Iterable[object], otherwise: str = "") -> str:
    """Return `"; did you mean 'x'?"` for the closest of `allowed`, or `otherwise` if none is close."""
    from difflib import get_close_matches

    text = str(name)
    if len(text) > LONGEST_NAME:
        return otherwise
    match = get_close_matches(text, [str(known) for known in allowed], n=1, cutoff=0.5)
    return f"; did you mean '{match[0]}'?" if match else otherwise
