"""study.json: what a study folder was made for."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from scff_hw.documents.base import Digest, Document, Part, Seed


class StudiedRun(Part):
    """The finished run that a study was asked about; `finished` is when it was started."""

    path: str
    seed: Seed
    backend: str
    finished: str


class StudyDescription(Document):
    """study.json.

    Attributes:
        recipe, profile: YAML text; the profile is None where no device is simulated.
        data: digests of the data sets by name; see `scff_hw.data`.
    """

    schema_version: Literal[1] = Field(alias="schema")
    study: str
    recipe: str
    profile: str | None = None
    run: StudiedRun | None = None
    data: dict[str, Digest]
