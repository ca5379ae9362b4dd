"""manifest.json of an exported crossbar program: its version, and a digest of every other file."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from scff_hw.documents.base import STRICT

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class CrossbarManifest(BaseModel):
    """What a reader needs of manifest.json; the exporter writes more, for people.

    Attributes:
        files: SHA-256 by path in the folder.
    """

    model_config = ConfigDict(**STRICT | {"extra": "allow"})

    format: str
    version: int
    files: dict[str, Sha256]
