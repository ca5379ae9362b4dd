"""points/KEY.json: the result rows of one point of a study."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator
from pydantic_core import PydanticCustomError

from scff_hw.documents.base import STRICT, Digest, Document, Share


class PointRow(BaseModel):
    """One row of the results of a study; studies may add columns."""

    model_config = ConfigDict(**STRICT | {"extra": "allow"})
    __pydantic_extra__: dict[str, str | int | float | bool | None]

    test_accuracy: Share


class PointResult(Document):
    """Result of one point (measurement) of a study.

    Attributes:
        key: key of the point, and name of its file without .json.
        labels: columns that identify the point.
        seconds: duration of the measurement, in seconds.
        digest: digest of the rows as canonical JSON, to detect lost or changed rows.
    """

    schema_version: Literal[1] = Field(alias="schema")
    study: str
    key: str
    labels: dict[str, JsonValue]
    rows: tuple[PointRow, ...] = Field(min_length=1)
    seconds: float = Field(ge=0)
    digest: Digest

    @classmethod
    def of(
        cls, study: str, key: str, labels: dict[str, Any], rows: list[dict[str, Any]], seconds: float
    ) -> PointResult:
        """Make the document from measured rows, with their digest."""
        parsed = tuple(PointRow.model_validate(row) for row in rows)
        return cls(
            schema=1,
            study=study,
            key=key,
            labels=labels,
            rows=parsed,
            seconds=round(seconds, 3),
            digest=_digest(parsed),
        )

    @model_validator(mode="after")
    def _whole(self) -> PointResult:
        if (expected := _digest(self.rows)) != self.digest:
            raise PydanticCustomError(
                "changed_rows", "Input should hold the rows that were measured, of the digest {digest}",
                {"digest": expected[:12]},
            )
        return self


def _digest(rows: tuple[PointRow, ...]) -> str:
    text = json.dumps([row.model_dump() for row in rows], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=32).hexdigest()
