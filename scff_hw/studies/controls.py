"""`controls`: accuracy of SCFF and its controls: shuffled pairs, untrained layers, whitened patches, backpropagation.

The paper's figure 6b, with a converged readout in place of a curve over the epochs of the readout.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from scff_hw.backends import FloatBackend
from scff_hw.core.functional import standardise
from scff_hw.core.network import Network
from scff_hw.core.rules import SCFF, ShuffledSCFF
from scff_hw.data import SequencePipeline
from scff_hw.errors import UsageError
from scff_hw.recipes import Recipe
from scff_hw.report import PairPicture, Panel
from scff_hw.studies.grids import InFloat
from scff_hw.studies.lab import Lab
from scff_hw.studies.options import StudyOptions
from scff_hw.studies.panels import Line, grid_panels
from scff_hw.studies.point import Point, Row
from scff_hw.studies.request import Request, without_formats
from scff_hw.studies.study import Study
from scff_hw.training.controls import learn_backprop
from scff_hw.training.progress import SilentProgress
from scff_hw.training.run_context import RunContext, StopRequest, pipeline_of, recipe_dataset, recipe_scaling
from scff_hw.training.run_folder import Position, RunFolder

PAIRED = (3, 8)
"""Labels of the example pairs, as in the paper."""

METHODS = ("scff", "shuffled", "untrained", "patches", "backprop")

EXPLANATION = (
    "How much learning improves accuracy, and which part of it contrast causes. All methods have the same readout, "
    "with the same solver, strengths and scaling of features, fitted on hidden layers that learned by SCFF; by SCFF "
    "with positive and negative exchanged in every second pair (roles shuffled); that did not learn (untrained); whose "
    "weights are whitened random patches of their inputs (images only); and on those of the same network trained end "
    "to end with labels, through time if it is recurrent (backpropagation, features). Backpropagation, own output: "
    "with the output layer that it trained. The gain of shuffled roles over untrained is not caused by contrast."
)

LINES = (
    Line("backpropagation, own output", "backprop", 1, {"method": "backprop", "readout": "own output"}),
    Line("backpropagation, features", "backprop", 0, {"method": "backprop", "readout": "fitted"}),
    Line("SCFF", "scff", 0, {"method": "scff"}),
    Line("SCFF, roles shuffled", "scff", 1, {"method": "shuffled"}),
    Line("whitened patches", "muted", 0, {"method": "patches"}),
    Line("untrained", "untrained", 0, {"method": "untrained"}),
)


class ControlsStudy(Study[StudyOptions]):
    """Accuracy of SCFF and its controls; no hardware."""

    name = "controls"
    title = "Controls"
    explanation = EXPLANATION
    hardware = InFloat()
    Options = StudyOptions

    def check(self, request: Request) -> None:
        """Raise UsageError for a recipe with a rule other than scff, and for a finished run."""
        if request.run is not None:
            raise UsageError(f"The study controls must be given a recipe. Got the run {request.run['path']} instead.")
        if (rule := request.recipe.training.rule.name) != SCFF.name:
            raise UsageError(
                f"The study controls must be given a recipe of the rule {SCFF.name}. Got '{rule}' instead."
            )

    def points(self, request: Request) -> list[Point]:
        """Return one point per grid point, method and seed; backpropagation and patches only if the recipe has them."""
        points: list[Point] = []
        for variant in request.variants:
            recipe = variant.recipe or request.recipe
            for method in METHODS:
                if method == "backprop" and recipe.controls.backprop is None:
                    continue
                if method == "patches" and recipe.controls.patches is None:
                    continue
                text = without_formats(_shuffled(recipe) if method == "shuffled" else recipe)
                points += [request.point(seed, method, variant, {"recipe": text}) for seed in request.seeds]
        return points

    def measure(self, lab: Lab) -> list[Row]:
        """Return one row; for backpropagation two: with its own output layer, and with a readout as for the others."""
        if lab.method == "backprop":
            accuracy, network = _backprop(lab)
            return [lab.row("own output", accuracy), lab.fitted_row(network)]
        if lab.method in ("scff", "shuffled"):
            return [lab.fitted_row(lab.learned(FloatBackend()))]
        weights = lab.patches() if lab.method == "patches" else lab.initial
        return [lab.fitted_row(lab.with_weights(FloatBackend(), weights))]

    def panels(self, request: Request, rows: Sequence[Row]) -> list[Panel]:
        """Return plots of the accuracy of each method over the first varied key."""
        return grid_panels(request, LINES, rows)

    def pairs(self, request: Request) -> list[PairPicture]:
        """Return a positive and a negative pair of recordings, for recipes on sequences only (paper, figure 6a)."""
        if not request.recipe.data.has_sequences:
            return []
        dataset = recipe_dataset(request.recipe, request.seeds[0], request.data_dir)
        pipeline = pipeline_of(dataset, "train", recipe_scaling(request.recipe, dataset))
        assert isinstance(pipeline, SequencePipeline)
        indices = torch.tensor([int((pipeline.labels == label).nonzero()[0]) for label in PAIRED])
        x, lengths = pipeline.batch(indices)
        first, second = (standardise(frames[:length]).numpy() for frames, length in zip(x, lengths, strict=True))
        names = tuple(dataset.classes[label] for label in PAIRED)
        return [
            PairPicture("positive pair", (first, first), (names[0], names[0])),
            PairPicture("negative pair", (first, second), (names[0], names[1])),
        ]


def _shuffled(recipe: Recipe) -> Recipe:
    rule = recipe.training.rule.model_copy(update={"name": ShuffledSCFF.name})
    return recipe.model_copy(update={"training": recipe.training.model_copy(update={"rule": rule})})


def _backprop(lab: Lab) -> tuple[float, Network]:
    """Train by backpropagation; return the test accuracy, 0..1, after the last epoch, and the network."""
    recipe = lab.recipe
    assert recipe.controls.backprop is not None
    with tempfile.TemporaryDirectory() as folder:
        run, cpu = RunFolder(Path(folder)), torch.device("cpu")
        context = RunContext(
            recipe,
            lab.seed,
            lab.dataset,
            lab.scaling,
            FloatBackend(),
            lab.untrained(FloatBackend()),
            run,
            SilentProgress(),
            cpu,
            StopRequest(),
        )
        with torch.enable_grad():
            weights = learn_backprop(context, recipe.controls.backprop, Position("backprop"), {})
        run.close()
    return context.values["backprop_test_accuracy"], lab.with_weights(FloatBackend(), weights)
