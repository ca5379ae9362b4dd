"""study.json: description of a study."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from scff_hw.documents.base import Digest, Document, Part, Seed


class StudiedRun(Part):
    """Finished run that a study uses; `finished` is the start time of that run."""

    path: str
    seed: Seed
    backend: str
    finished: str


class StudyDescription(Document):
    """study.json.

    Attributes:
        recipe, profile: YAML text; the profile is None without simulated devices.
        data: digests of the data sets by name; see `scff_hw.data`.
    """

    schema_version: Literal[1] = Field(alias="schema")
    study: str
    recipe: str
    profile: str | None = None
    run: StudiedRun | None = None
    data: dict[str, Digest]
