"""run.json: what was run, from which data, and how far it got."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from scff_hw.documents.base import Digest, Document, Part, Seed

Status = Literal["running", "interrupted", "failed", "done"]


class DataIdentity(Part):
    """The data of a run.

    Attributes:
        digest: of the samples and labels as read, before anything is made of them; see `scff_hw.data`.
        folder: where they were read from; empty for data that come with a package.
    """

    digest: Digest
    folder: str

    @property
    def place(self) -> str:
        """The folder, or what stands for it, in messages."""
        return self.folder or "a package"


class RunDetails(Document):
    """run.json.

    Attributes:
        profile: name of the hardware profile, None where no hardware is simulated.
        started: ISO 8601, UTC.
        duration_s: of all sessions together.
        versions: of what determines a run's numbers, by name.
        data: None in runs of before schema 1, whose data are not known.
    """

    recipe: str
    seed: Seed
    backend: str
    command: str = ""
    profile: str | None = None
    status: Status
    started: str
    duration_s: float = Field(ge=0)
    versions: dict[str, str]
    data: DataIdentity | None = None

    @model_validator(mode="after")
    def _known_data(self) -> RunDetails:
        if self.schema_version >= 1 and self.data is None:
            raise PydanticCustomError("no_data", "Input should hold 'data', which is missing")
        return self
