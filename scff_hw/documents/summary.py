"""summary.json: results of a finished run."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from scff_hw.documents.base import STRICT, Digest, Document, Part, Seed, Share


class LayerMetrics(Part):
    """Means over a layer's last epoch by name; those of the meters of its arrays as `part.name`."""

    model_config = ConfigDict(**STRICT | {"extra": "allow"})
    __pydantic_extra__: dict[str, float]

    layer: int = Field(ge=1)


class Metrics(Part):
    """Accuracies 0..1; seconds by stage."""

    test_accuracy: Share
    untrained_test_accuracy: Share | None = None
    backprop_test_accuracy: Share | None = None
    train_accuracy: Share | None = None
    layers: tuple[LayerMetrics, ...] = ()
    seconds: dict[str, float] = Field(default_factory=dict)


class RunSummary(Document):
    """summary.json.

    Attributes:
        run: path of the run folder as given.
        identity: digest of the run's seed, backend, data, recipe and hardware; None in older runs.
        measured_on: part of the data used for the accuracies.
    """

    run: str
    identity: Digest | None = None
    recipe: str
    seed: Seed
    backend: str
    profile: str | None = None
    measured_on: str
    metrics: Metrics
