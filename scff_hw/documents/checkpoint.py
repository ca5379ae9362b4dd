"""Metadata of tensor files, and the position of a checkpoint in a run."""

from __future__ import annotations

from pydantic import ConfigDict, Field, JsonValue

from scff_hw.documents.base import STRICT, Document, Share
from scff_hw.documents.summary import ReadoutReport


class TensorFileDetails(Document):
    """Value of `scff_hw` in the metadata of a safetensors file, as JSON.

    Attributes:
        digest: digest of the whole file with 64 zeros in place of this digest; None before schema 1.
        run: identity of the run that the tensors belong to; None for tensors without a run.
        file: name under which the file was written; None for tensors without a run, and in files of earlier versions.
    """

    model_config = ConfigDict(**STRICT | {"extra": "allow"})

    digest: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    run: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    file: str | None = None


class StageValues(Document):
    """Results of the finished stages of a run, by name; stages may add further keys."""

    model_config = ConfigDict(**STRICT | {"extra": "allow"})
    __pydantic_extra__: dict[str, JsonValue]

    test_accuracy: Share | None = None
    untrained_test_accuracy: Share | None = None
    backprop_test_accuracy: Share | None = None
    patches_test_accuracy: Share | None = None
    backprop_features_test_accuracy: Share | None = None
    readouts: dict[str, ReadoutReport] | None = None
    paper_readouts: dict[str, Share] | None = None
    layers: dict[str, dict[str, float]] | None = None
    seconds: dict[str, float] | None = None
    epoch_sums: dict[str, dict[str, float]] | None = None


class CheckpointState(TensorFileDetails):
    """Position of a checkpoint in its run: in `stage`, before batch `batch` of epoch `epoch` (both from 0).

    Attributes:
        metrics_bytes: length of the metrics file at this position, in bytes.
    """

    stage: str
    epoch: int = Field(ge=0)
    batch: int = Field(ge=0)
    metrics_bytes: int = Field(ge=0)
    values: StageValues
