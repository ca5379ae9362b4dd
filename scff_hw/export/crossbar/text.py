"""The README of an exported crossbar program."""

from __future__ import annotations

from typing import Any

from scff_hw.documents import CrossbarManifest
from scff_hw.export.toolchain import rendered


def readme(manifest: CrossbarManifest, program: dict[str, Any]) -> str:
    """Return the folder's contents and how to use them, with this program's numbers."""
    return rendered("crossbar", "README.md", {"manifest": manifest, "program": program})
