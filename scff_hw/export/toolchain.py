"""Tools of exporters: templates, and programs of other packages."""

from __future__ import annotations

import shutil
from typing import Any

from scff_hw import paths
from scff_hw.errors import MissingPartError
from scff_hw.escaping import template

PACKAGES = {
    "arm-none-eabi-gcc": "gcc-arm-none-eabi libnewlib-arm-none-eabi",
    "cppcheck": "cppcheck",
    "gcc": "gcc libc6-dev",
    "make": "make",
    "ngspice": "ngspice",
    "qemu-system-arm": "qemu-system-arm",
}
"""Packages of Debian and Ubuntu, by program."""


def required(program: str) -> str:
    """Return the path of a program of `PACKAGES`.

    Raises:
        MissingPartError: the program is not installed.
    """
    path = shutil.which(program)
    if path is None:
        raise MissingPartError(f"{program} is not installed; type: sudo apt-get install {PACKAGES[program]}")
    return path


def rendered(folder: str, name: str, values: dict[str, Any]) -> str:
    """Return the rendered template of the file `name`, in a folder of `export/`; see `escaping.template`."""
    return template(paths.export() / folder / "templates", name).render(values)
