"""The README of an exported crossbar program."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from scff_hw import paths


def readme(manifest: dict[str, Any], program: dict[str, Any]) -> str:
    """What the folder holds and how to use it, with this program's numbers."""
    environment = Environment(
        loader=FileSystemLoader(paths.export() / "crossbar" / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("README.md.jinja").render(manifest=manifest, program=program)
