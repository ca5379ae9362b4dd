"""summary.json: results of a finished run."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from scff_hw.documents.base import STRICT, Digest, Document, Part, Seed, Share


class LayerMetrics(Part):
    """Means over a layer's last epoch by name; those of the meters of its arrays as `part.name`."""

    model_config = ConfigDict(**STRICT | {"extra": "allow"})
    __pydantic_extra__: dict[str, float]

    layer: int = Field(ge=1)


class ReadoutReport(Part):
    """How a readout was fitted.

    Attributes:
        strength: L2 strength, chosen on held-out training samples; None for the solver paper.
        iterations: of the solver in the fit to all training samples; epochs of the solver paper.
        gradient: norm of the gradient at the end, as a share of that at zero weights; None for the solver paper.
        converged: `gradient` is small enough, in the fits that determine the result; None for the solver paper, which
            stops after its epochs.
        held_out_accuracy: of the chosen strength; None without held-out samples.
    """

    solver: Literal["logistic", "ridge", "paper"]
    strength: float | None = None
    iterations: int = Field(ge=0)
    gradient: float | None = Field(None, ge=0)
    converged: bool | None = None
    train_accuracy: Share
    held_out_accuracy: Share | None = None


class Metrics(Part):
    """Accuracies 0..1; seconds by stage.

    Attributes:
        backprop_test_accuracy: with the output layer that backpropagation trained.
        backprop_features_test_accuracy: of backpropagation's hidden layers, with the same readout as the others.
        readouts: by whose features were read: scff, untrained, patches, backprop. Empty in runs of before there was a
            choice of solvers.
        paper_readouts: test accuracies with the paper's readout, by the same names.
    """

    test_accuracy: Share
    untrained_test_accuracy: Share | None = None
    patches_test_accuracy: Share | None = None
    backprop_test_accuracy: Share | None = None
    backprop_features_test_accuracy: Share | None = None
    readouts: dict[str, ReadoutReport] = Field(default_factory=dict)
    paper_readouts: dict[str, Share] = Field(default_factory=dict)
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
