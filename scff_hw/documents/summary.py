"""summary.json: results of a finished run."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from scff_hw.documents.base import STRICT, Digest, Document, Part, Seed, Share


class LayerMetrics(Part):
    """Mean metrics of a layer over its last epoch, by name; metrics of its arrays as `array.name`."""

    model_config = ConfigDict(**STRICT | {"extra": "allow"})
    __pydantic_extra__: dict[str, float]

    layer: int = Field(ge=1)


class ReadoutReport(Part):
    """Report on the fit of a readout.

    Attributes:
        strength: L2 strength, chosen on held-out training samples; None for the solver paper.
        iterations: number of iterations of the fit to all training samples; number of epochs of the solver paper.
        gradient: norm of the gradient at the end, as a share of the norm at zero weights; None for the solver paper.
        converged: whether `gradient` was small enough in the fits that determine the result; None for the solver paper,
            which stops after its epochs.
        held_out_accuracy: held-out accuracy with the chosen strength; None without held-out samples.
    """

    solver: Literal["logistic", "ridge", "paper"]
    strength: float | None = None
    iterations: int = Field(ge=0)
    gradient: float | None = Field(None, ge=0)
    converged: bool | None = None
    train_accuracy: Share
    held_out_accuracy: Share | None = None


class Metrics(Part):
    """Accuracies 0..1, layer metrics and seconds per stage.

    Attributes:
        backprop_test_accuracy: test accuracy with the output layer that backpropagation trained.
        backprop_features_test_accuracy: test accuracy of backpropagation's hidden layers, with the usual readout.
        readouts: reports on fits, by features: scff, untrained, patches, backprop. Empty in runs from before there was
            a choice of solvers.
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
        measured_on: part of the data that the test accuracies are measured on.
    """

    run: str
    identity: Digest | None = None
    recipe: str
    seed: Seed
    backend: str
    profile: str | None = None
    measured_on: str
    metrics: Metrics
