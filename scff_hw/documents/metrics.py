"""metrics.jsonl: a line per batch and epoch of a layer, per epoch or fit of a readout, per epoch of backpropagation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from scff_hw.documents.base import STRICT, Share, read_file, sentence
from scff_hw.errors import CheckpointError

Features = Literal["scff", "untrained", "patches", "backprop"]
"""Hidden layers whose features the readout is fitted to."""


class _Line(BaseModel):
    """A line of metrics.jsonl: declared fields, and further metrics by name."""

    model_config = ConfigDict(**STRICT | {"extra": "allow"})
    __pydantic_extra__: dict[str, float]

    epoch: int = Field(ge=1)


class BatchLine(_Line):
    """Metrics of one layer in one batch; `step` numbers the layer's batches over all epochs, from 1."""

    kind: Literal["batch"]
    layer: int = Field(ge=1)
    batch: int = Field(ge=1)
    step: int = Field(ge=1)


class EpochLine(_Line):
    """Mean metrics of one layer over one epoch."""

    kind: Literal["epoch"]
    layer: int = Field(ge=1)


class ReadoutLine(_Line):
    """Metrics of one epoch of the paper's readout, on the features of one network."""

    kind: Literal["readout"]
    features: Features
    train_accuracy: Share
    test_accuracy: Share


class ReadoutFitLine(_Line):
    """Metrics of one fit of a converged readout; `epoch` numbers the fits, and the last fit uses all training samples.

    Attributes:
        samples: share of the training samples that are fitted, others held out; "none" if there are too few to hold
            out.
        strength: L2 strength.
        gradient: norm of the gradient at the end, as a share of the norm at zero weights.
        held_out_accuracy: accuracy on the held-out samples; None without held-out samples.
        test_accuracy: test accuracy; only for the last fit.
    """

    kind: Literal["readout fit"]
    features: Features
    samples: Literal["seven eighths", "all", "none"]
    strength: float
    iterations: int
    gradient: float
    converged: bool
    train_accuracy: Share | None = None
    held_out_accuracy: Share | None = None
    test_accuracy: Share | None = None


class BackpropLine(_Line):
    """Metrics of one epoch of the backpropagation control."""

    kind: Literal["backprop"]
    train_accuracy: Share
    test_accuracy: Share


MetricsLine = Annotated[
    BatchLine | EpochLine | ReadoutLine | ReadoutFitLine | BackpropLine, Field(discriminator="kind")
]

_LINE: TypeAdapter[Any] = TypeAdapter(MetricsLine)


def parse_metrics(path: Path, absent: str = "") -> list[dict[str, Any]]:
    """Read a metrics file, one dict per line; `absent` is the error message for a missing file.

    Raises:
        CheckpointError: the file is missing, or a line is invalid; the message names the line.
    """
    records = []
    for number, line in enumerate(read_file(path, absent).splitlines(), start=1):
        try:
            record = _LINE.validate_json(line)
        except (ValidationError, ValueError) as error:
            raise CheckpointError(sentence(error, f"the metrics line {path}:{number}")) from None
        records.append(record.model_dump(exclude_unset=True))
    return records
