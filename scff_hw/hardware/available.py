"""Checks whether aihwkit is installed and works with the installed torch."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from scff_hw.errors import MissingPartError
from scff_hw.hardware.tile_trial import trial

TRIAL_LIMIT_S = 120.0
BUILD_TOOLS = "setuptools wheel scikit-build pybind11 ninja 'cmake>=4.2' mypy protobuf tqdm"
VERSION = "1.2.0"


def aihwkit_version() -> str | None:
    """Return the installed version of aihwkit, or None."""
    try:
        return version("aihwkit")
    except PackageNotFoundError:
        return None


def build_command() -> str:
    """Return the shell command that builds aihwkit against the installed torch."""
    if (Path(__file__).parents[2] / ".ci" / "setup").exists():
        return "make setup   # builds aihwkit against the torch of .venv: some minutes, once"
    python = sys.executable
    return (
        f"{python} -m pip install {BUILD_TOOLS} && pip cache remove aihwkit; PATH={Path(python).parent}:$PATH {python} "
        "-m pip install --force-reinstall --no-deps --no-build-isolation --no-binary aihwkit "
        f"aihwkit=={VERSION}   # needs g++ and OpenBLAS (libopenblas-dev)"
    )


@cache
def try_in_subprocess() -> str | None:
    """Test a tile in a subprocess, once per process; return None if the tile works, else the error."""
    command = [sys.executable, "-W", "ignore", "-m", "scff_hw.hardware.tile_trial"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TRIAL_LIMIT_S)
    except subprocess.TimeoutExpired:
        return f"no answer within {TRIAL_LIMIT_S:.0f} s"
    if done.returncode == 0:
        return None
    lines = [line.strip() for line in done.stderr.splitlines() if "Error" in line]
    return lines[-1] if lines else f"ended with code {done.returncode}"


@cache
def require_aihwkit() -> None:
    """Import aihwkit and test a tile, once per process.

    Raises:
        MissingPartError: aihwkit is missing or built against another torch; names the command that builds it.
    """
    if aihwkit_version() is None:
        raise MissingPartError(f"The analog backend needs aihwkit, which is not installed; type: {build_command()}")
    try:
        trial()
    except Exception as error:
        import torch

        reason = " ".join(str(error).split())[:200]
        raise MissingPartError(
            f"The installed aihwkit {aihwkit_version()} does not work with torch {torch.__version__}, so it was built "
            f"against another one ({type(error).__name__}: {reason}); type: {build_command()}"
        ) from None
