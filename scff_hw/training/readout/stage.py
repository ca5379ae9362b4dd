"""Stages of a run that fit a readout: on the learned hidden layers and on the hidden layers of each control."""

from __future__ import annotations

import time
from dataclasses import dataclass

from torch import Tensor

from scff_hw.backends import FloatBackend
from scff_hw.core.network import Network
from scff_hw.recipes import Recipe
from scff_hw.recipes.schema import ReadoutSolver
from scff_hw.training.build import Weights, build_network, frozen, untrained_weights, weights_of
from scff_hw.training.features import augmentation_of, feature_source
from scff_hw.training.patches import patch_weights
from scff_hw.training.readout import solver_of
from scff_hw.training.run_context import RunContext
from scff_hw.training.run_folder import BACKPROP, INITIAL, WEIGHTS, Checkpoint, Position

CHECKPOINT_SECONDS = 20
"""Shortest time between two checkpoints of a stage, in seconds."""

FEATURES = {
    "scff": "test_accuracy",
    "untrained": "untrained_test_accuracy",
    "patches": "patches_test_accuracy",
    "backprop": "backprop_features_test_accuracy",
}
"""Key of a readout's test accuracy in the summary, by the hidden layers that its features come from."""


@dataclass(frozen=True)
class ReadoutStage:
    """Stage that fits a readout to the features of one network.

    Attributes:
        features: a key of `FEATURES`.
        solver: None for the solver of the recipe; "paper" for the second readout of `controls.paper_readout`.
    """

    features: str
    solver: ReadoutSolver | None = None

    @property
    def name(self) -> str:
        """Name of the stage in checkpoints and in `seconds`."""
        return f"{self.solver} readout {self.features}" if self.solver else f"readout {self.features}"


def readout_stages(recipe: Recipe) -> list[ReadoutStage]:
    """Return the readout stages of a run in order; those of the backpropagation control are last."""
    controls = recipe.controls
    asked = {
        "untrained": controls.untrained,
        "patches": controls.patches is not None,
        "backprop": controls.backprop is not None,
    }
    stages = []
    for features in ("scff", *(name for name, wanted in asked.items() if wanted)):
        stages.append(ReadoutStage(features))
        if controls.paper_readout:
            stages.append(ReadoutStage(features, "paper"))
    return stages


def fit_readout(context: RunContext, stage: ReadoutStage, start: Position, resumed: Checkpoint | None) -> None:
    """Fit the readout of a stage and measure its test accuracy; write weights of layers and readout to one file.

    The readouts of a run have the same solver, strengths, held-out samples and scaling of columns.

    Raises:
        KeyboardInterrupt: a stop was requested; the stage continues from its last checkpoint.
    """
    recipe = context.recipe
    network, weights = _network(context, stage.features)
    layers = [number - 1 for number in recipe.readout.layers]
    train, test = context.plain("train"), context.plain("test")
    augmentation = augmentation_of(recipe.data, recipe.readout.augmentation)
    what = f"{stage.features} features"
    with context.stop.stopping_immediately():
        source = feature_source(
            network,
            layers,
            train,
            augmentation,
            context.progress,
            what,
            copies=recipe.readout.augmented_copies,
            seed=context.seed,
        )
        measured = feature_source(network, layers, test, None, context.progress, f"{what}, test part")
    transform = None if stage.features == "backprop" else context.readout_transform
    solver = solver_of(recipe, source, train.labels, context.classes, context.seed, transform, stage.solver)
    if resumed is not None and start.epoch:
        solver.load_state(resumed.group("readout"))
    context.extra = lambda: {f"readout.{name}": value for name, value in solver.state().items()}
    context.progress.start(f"{stage.solver or recipe.readout.solver} readout of {what}", solver.steps, start.epoch)
    saved = time.monotonic()
    for number in range(start.epoch, solver.steps):
        metrics = solver.step(number, lambda: context.stop.requested)
        last = number + 1 == solver.steps
        if solver.kind == "readout" or last:  # each epoch of the paper's readout; once where a strength is chosen
            metrics["test_accuracy"] = solver.readout.accuracy(measured, test.labels)
        context.folder.log(kind=solver.kind, features=stage.features, epoch=number + 1, **metrics)
        shown = ("train_accuracy", "held_out_accuracy", "test_accuracy")
        context.progress.advance(1, **{key: float(metrics[key]) for key in shown if key in metrics})
        if not last and (context.stop.requested or time.monotonic() - saved > CHECKPOINT_SECONDS):
            context.checkpoint(stage.name, number + 1, 0)
            saved = time.monotonic()
    context.progress.finish()
    readout, report = solver.readout, solver.report()
    accuracy = float(metrics["test_accuracy"])
    if stage.solver is not None:
        context.values.setdefault("paper_readouts", {})[stage.features] = accuracy
        return
    context.values[FEATURES[stage.features]] = accuracy
    context.values.setdefault("readouts", {})[stage.features] = report.model_dump(mode="json")
    if report.converged is False:
        context.progress.note(
            f"The readout of {what} has not converged: its gradient is {report.gradient:.1e} of that at zero weights."
        )
    files = {"scff": WEIGHTS, "untrained": INITIAL}
    if stage.features in files:
        readout_weights = {"readout.weight": readout.weight, "readout.bias": readout.bias}
        context.folder.write_tensors(files[stage.features], weights | readout_weights)


def _network(context: RunContext, features: str) -> tuple[Network, dict[str, Tensor]]:
    """Return the network for `features`, a key of `FEATURES`, and its weights by dotted name."""
    recipe = context.recipe
    if features == "scff":
        return context.network, weights_of(context.network)
    if features == "backprop":  # learned in float, read in float
        weights = context.folder.tensors(BACKPROP)
        return build_network(frozen(recipe), FloatBackend(), _on(context, weights)), weights
    weights = untrained_weights(recipe, context.seed)
    if features == "patches":
        assert recipe.controls.patches is not None
        samples, regulariser = context.plain(recipe.data.learn_split), recipe.controls.patches.regulariser
        with context.stop.stopping_immediately():
            weights = patch_weights(recipe, weights, samples, context.seed, regulariser)
    return build_network(recipe, context.backend, weights), weights


def _on(context: RunContext, weights: Weights) -> Weights:
    return {name: value.to(context.device) for name, value in weights.items()}
