"""`controls`: readout accuracy per epoch for SCFF and its controls: shuffled pairs, untrained layers, backpropagation.

Paper, figure 6b.
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
from scff_hw.studies.panels import Line, curves
from scff_hw.studies.point import Point, Row
from scff_hw.studies.request import Request, without_formats
from scff_hw.studies.study import Study
from scff_hw.training.controls import learn_backprop
from scff_hw.training.progress import SilentProgress
from scff_hw.training.run_context import RunContext, StopRequest, pipeline_of, recipe_dataset
from scff_hw.training.run_folder import Position, RunFolder

PAIRED = (3, 8)
"""Labels of the example pairs, as in the paper."""

METHODS = ("scff", "shuffled", "untrained", "backprop")

EXPLANATION = (
    "How much learning improves accuracy, and which part of it contrast causes. SCFF, roles shuffled, untrained: the "
    "same readout, fitted on hidden layers that learned by SCFF, by SCFF with positive and negative exchanged in every "
    "second pair, and that did not learn. The gain of shuffled roles over untrained is not caused by contrast. "
    "Backpropagation: the same network trained end to end with labels, through time if it is recurrent. Epochs are "
    "those of the readout, or of backpropagation."
)

CURVES = (
    Line("backpropagation", "backprop", 0, {"method": "backprop"}),
    Line("SCFF", "scff", 0, {"method": "scff"}),
    Line("SCFF, roles shuffled", "scff", 1, {"method": "shuffled"}),
    Line("untrained", "untrained", 0, {"method": "untrained"}),
)


class ControlsStudy(Study[StudyOptions]):
    """Readout accuracy per epoch for SCFF and its controls; no hardware."""

    name = "controls"
    title = "Controls"
    explanation = EXPLANATION
    hardware = InFloat()
    Options = StudyOptions

    def check(self, request: Request) -> None:
        """Refuse a recipe with a rule other than scff, and a finished run."""
        if request.run is not None:
            raise UsageError(f"The study controls must be given a recipe. Got the run {request.run['path']} instead.")
        if (rule := request.recipe.training.rule.name) != SCFF.name:
            raise UsageError(
                f"The study controls must be given a recipe of the rule {SCFF.name}. Got '{rule}' instead."
            )

    def points(self, request: Request) -> list[Point]:
        """One point per grid point, seed and method; backpropagation if the recipe has it."""
        points: list[Point] = []
        for variant in request.variants:
            recipe = variant.recipe or request.recipe
            for method in METHODS:
                if method == "backprop" and recipe.controls.backprop is None:
                    continue
                text = without_formats(_shuffled(recipe) if method == "shuffled" else recipe)
                points += [request.point(seed, method, variant, {"recipe": text}) for seed in request.seeds]
        return points

    def measure(self, lab: Lab) -> list[Row]:
        """One row per epoch."""
        if lab.method == "backprop":
            accuracies = _backprop(lab)
        else:
            backend = FloatBackend()
            network: Network = lab.untrained(backend) if lab.method == "untrained" else lab.learned(backend)
            accuracies = lab.accuracies(network)
        return [
            {"epoch": epoch, "note": lab.note, "test_accuracy": accuracy}
            for epoch, accuracy in enumerate(accuracies, start=1)
        ]

    def panels(self, request: Request, rows: Sequence[Row]) -> list[Panel]:
        """Accuracy over epochs; one panel per grid point."""
        panels = []
        for variant in request.variants:
            here = [row for row in rows if all(row.get(key) == value for key, value in variant.labels.items())]
            epochs = sorted({row["epoch"] for row in here})
            names = {key.rpartition(".")[2].replace("_", " "): value for key, value in variant.values.items()}
            title = ", ".join(f"{name} {value}" for name, value in names.items())
            grid_points = [{"epoch": epoch} for epoch in epochs]
            ticks = tuple(str(epoch) for epoch in epochs)
            lines = curves(CURVES, here, grid_points)
            panels.append(Panel(title, "epoch", ticks, lines, tuple(float(epoch) for epoch in epochs)))
        return panels

    def pairs(self, request: Request) -> list[PairPicture]:
        """A positive and a negative pair of recordings, for recipes on sequences (paper, figure 6a)."""
        if not request.recipe.data.has_sequences:
            return []
        dataset = recipe_dataset(request.recipe, request.seeds[0], request.data_dir)
        pipeline = pipeline_of(request.recipe, dataset, "train")
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


def _backprop(lab: Lab) -> list[float]:
    """Test accuracy after each epoch of backpropagation."""
    recipe = lab.recipe
    assert recipe.controls.backprop is not None
    with tempfile.TemporaryDirectory() as folder, torch.enable_grad():
        run, cpu = RunFolder(Path(folder)), torch.device("cpu")
        network = lab.untrained(FloatBackend())
        context = RunContext(
            recipe, lab.seed, lab.dataset, FloatBackend(), network, run, SilentProgress(), cpu, StopRequest()
        )
        learn_backprop(context, recipe.controls.backprop, Position("backprop"), {})
        run.close()
        records = run.records()
    return [record["test_accuracy"] for record in records if record["kind"] == "backprop"]
