"""Checks of the arguments of `train` and `evaluate`, before any file is read; an error is one sentence."""

from __future__ import annotations

import os

from scff_hw.errors import UsageError
from scff_hw.hardware import Profile, Target


def check_integer(what: str, value: object, least: int, most: int | None = None) -> None:
    """Check that `value` is an int (not a bool) from `least` to `most`, both included.

    Raises:
        UsageError: another value; the message has `what` and the range.
    """
    if type(value) is int and value >= least and (most is None or value <= most):
        return
    range_text = f"from {least} to {most}" if most is not None else f"of at least {least}"
    text = repr(value) if type(value) is not int or abs(value) < 10**30 else f"{value:#x}"[:30] + "..."
    raise UsageError(f"The {what} must be an integer {range_text}. Got {text} instead.")


def check_profile(profile: object, for_targets: str) -> None:
    """Check that `profile` is None or the `Profile` of analog devices.

    Args:
        for_targets: name of the function that accepts a digital target.

    Raises:
        UsageError: a digital target, a profile's name or path, or another object.
    """
    if profile is None or isinstance(profile, Profile):
        return
    if isinstance(profile, Target):
        raise UsageError(
            f"The profile must be one of analog devices. Got '{profile.name}' instead: "
            f"a digital target has no devices; use {for_targets}."
        )
    if isinstance(profile, str | os.PathLike):
        name = os.fspath(profile)
        raise UsageError(f"The profile must be a loaded profile: load_profile({name!r}). Got {name!r} instead.")
    raise UsageError(f"The profile must be a Profile or None. Got {profile!r} instead.")
