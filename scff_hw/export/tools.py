"""What exports are made of and checked with: templates, and programs of other packages."""

from __future__ import annotations

import shutil

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from scff_hw import paths
from scff_hw.errors import MissingPartError

PACKAGES = {
    "arm-none-eabi-gcc": "gcc-arm-none-eabi libnewlib-arm-none-eabi",
    "cppcheck": "cppcheck",
    "gcc": "gcc libc6-dev",
    "make": "make",
    "ngspice": "ngspice",
    "qemu-system-arm": "qemu-system-arm",
}
"""Packages of Debian and Ubuntu, by the program that is looked for."""


def required(program: str) -> str:
    """The path of a program of `PACKAGES`.

    Raises:
        MissingPartError: it is not installed.
    """
    found = shutil.which(program)
    if found is None:
        raise MissingPartError(f"{program} is not installed; type: sudo apt-get install {PACKAGES[program]}")
    return found


def templates(folder: str) -> Environment:
    """The templates of a folder of `export/`; a name that is not given is an error."""
    return Environment(
        loader=FileSystemLoader(paths.export() / folder / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
