"""run.json: recipe, data and status of a run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from scff_hw.documents.base import Digest, Document, Part, Seed

Status = Literal["running", "interrupted", "failed", "done"]


class DataIdentity(Part):
    """Identity of a run's data.

    Attributes:
        digest: digest of the samples and labels as read, before preprocessing; see `scff_hw.data`.
        folder: folder (or file) of the data; empty for bundled data.
    """

    digest: Digest
    folder: str

    @property
    def place(self) -> str:
        """Folder of the data for messages; "a package" for bundled data."""
        return self.folder or "a package"


class Scaling(Part):
    """Scaling of raw values to the inputs of a network: `(value - mean) / std`.

    Attributes:
        mean, std: one value per feature, channel or MFCC coefficient, in the units of the data: pixels from 0 to 255,
            coefficients in dB.
    """

    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0)], ...]


class RunDetails(Document):
    """run.json.

    Attributes:
        profile: name of the hardware profile; None without simulated hardware.
        started: time of the start, ISO 8601, UTC.
        duration_s: total duration of all sessions, in seconds.
        versions: versions of the packages that determine the results, by name; also platform and number of threads.
        data: identity of the data; None (unknown) in runs from before schema 1.
        scaling: scaling of the data; None in earlier runs, where it follows from the recipe and the data.
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
    scaling: Scaling | None = None

    @model_validator(mode="after")
    def _known_data(self) -> RunDetails:
        if self.schema_version >= 1 and self.data is None:
            raise PydanticCustomError("no_data", "Input should hold 'data', which is missing")
        return self
