"""metrics.jsonl: one line per batch, epoch, and epoch of a readout or of backpropagation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from scff_hw.documents.base import STRICT, Share, read_file, sentence
from scff_hw.errors import CheckpointError


class _Line(BaseModel):
    """Figures by name beside those declared."""

    model_config = ConfigDict(**STRICT | {"extra": "allow"})
    __pydantic_extra__: dict[str, float]

    epoch: int = Field(ge=1)


class BatchLine(_Line):
    """One layer in one batch; `step` counts a layer's batches over all epochs, from 1."""

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
    """The lines of a metrics file.

    Raises:
        CheckpointError: it does not exist, or a line is none of a run; names the line.
    """
    found = []
    for number, line in enumerate(read_file(path, absent).splitlines(), start=1):
        try:
            record = _LINE.validate_json(line)
        except (ValidationError, ValueError) as error:
            raise CheckpointError(sentence(error, f"the metrics line {path}:{number}")) from None
        found.append(record.model_dump(exclude_unset=True))
    return found
