"""The README of an exported crossbar program."""

from __future__ import annotations

from typing import Any

from scff_hw.export.tools import templates


def readme(manifest: dict[str, Any], program: dict[str, Any]) -> str:
    """What the folder holds and how to use it, with this program's numbers."""
    return templates("crossbar").get_template("README.md.jinja").render(manifest=manifest, program=program)
