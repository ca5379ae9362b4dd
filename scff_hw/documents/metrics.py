"""metrics.jsonl: one line per batch, epoch, and epoch of a readout or of backpropagation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from scff_hw.documents.base import STRICT, Share, read_file, sentence
from scff_hw.errors import CheckpointError


class _Line(BaseModel):
    """Declared fields and further metrics by name."""

    model_config = ConfigDict(**STRICT | {"extra": "allow"})
    __pydantic_extra__: dict[str, float]

    epoch: int = Field(ge=1)


class BatchLine(_Line):
    """One layer in one batch; `step` counts the batches of the layer over all epochs, from 1."""

    kind: Literal["batch"]
    layer: int = Field(ge=1)
    batch: int = Field(ge=1)
    step: int = Field(ge=1)


class EpochLine(_Line):
    """Means of one layer over one epoch."""

    kind: Literal["epoch"]
    layer: int = Field(ge=1)


class ReadoutLine(_Line):
    """One epoch of a readout, on trained or on untrained features."""

    kind: Literal["readout"]
    features: Literal["scff", "untrained"]
    train_accuracy: Share
    test_accuracy: Share


class BackpropLine(_Line):
    """One epoch of backpropagation."""

    kind: Literal["backprop"]
    train_accuracy: Share
    test_accuracy: Share


MetricsLine = Annotated[BatchLine | EpochLine | ReadoutLine | BackpropLine, Field(discriminator="kind")]

_LINE: TypeAdapter[Any] = TypeAdapter(MetricsLine)


def parse_metrics(path: Path, absent: str = "") -> list[dict[str, Any]]:
    """Read the lines of a metrics file.

    Raises:
        CheckpointError: the file is missing, or a line is invalid; names the line.
    """
    records = []
    for number, line in enumerate(read_file(path, absent).splitlines(), start=1):
        try:
            record = _LINE.validate_json(line)
        except (ValidationError, ValueError) as error:
            raise CheckpointError(sentence(error, f"the metrics line {path}:{number}")) from None
        records.append(record.model_dump(exclude_unset=True))
    return records
