"""What the stages of a run share: its recipe, data, network, folder, and the way to stop and go on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from scff_hw.backends import Backend, OwnArithmetic
from scff_hw.core.network import Network
from scff_hw.core.rules import Rule, rule_class
from scff_hw.data import Augmentation, Dataset, Pipeline, hold_out, load, shrink
from scff_hw.recipes import Recipe
from scff_hw.recipes.schema import AugmentationRecipe
from scff_hw.training.features import PlainSamples
from scff_hw.training.progress import Progress
from scff_hw.training.readout import Inferred
from scff_hw.training.run_folder import Checkpoint, Position, RunFolder


class StopRequest:
    """Ctrl-C and SIGTERM, held back until the run is between two batches; a second one acts at once."""

    def __init__(self) -> None:
        self.requested = False
        self._nothing_to_save = False

    @contextmanager
    def acting_at_once(self) -> Iterator[None]:
        """While something is computed that a resumed run computes anew: nothing is lost by stopping anywhere.

        Raises:
            KeyboardInterrupt: a stop is or was requested.
        """
        if self.requested:
            raise KeyboardInterrupt
        self._nothing_to_save = True
        try:
            yield
        finally:
            self._nothing_to_save = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen in the main thread; elsewhere signals cannot be caught and stay as they are."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._received) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _received(self, number: int, frame: FrameType | None) -> None:
        if self.requested or self._nothing_to_save:
            raise KeyboardInterrupt
        self.requested = True


@dataclass
class RunContext:
    """One run while it is going on.

    Attributes:
        values: JSON results of the stages that are finished; part of every checkpoint.
        extra: tensors that the stage now running adds to a checkpoint, by dotted name.
    """

    recipe: Recipe
    seed: int
    dataset: Dataset
    backend: Backend
    network: Network
    folder: RunFolder
    progress: Progress
    device: torch.device
    stop: StopRequest
    values: dict[str, Any] = field(default_factory=dict)
    extra: Callable[[], dict[str, Tensor]] = field(default=dict)

    @property
    def classes(self) -> int:
        return len(self.dataset.classes)

    @property
    def rule(self) -> type[Rule]:
        return rule_class(self.recipe.training.rule.name)

    def pipeline(self, part: str) -> Pipeline:
        """Batches of one part of the data, normalised as the recipe says."""
        data = self.recipe.data
        return Pipeline(self.dataset, part, mean=data.mean, std=data.std, device=self.device)

    def plain(self, part: str) -> PlainSamples:
        """One part of the data as a network reads it where nothing is learned."""
        return PlainSamples(self.pipeline(part), self.rule, self.classes)

    @property
    def as_inferred(self) -> Inferred | None:
        """A readout's weights as the backend's inference has them; None where they are taken as they are."""
        return self.backend.readout if isinstance(self.backend, OwnArithmetic) else None

    def checkpoint(self, stage: str, epoch: int, batch: int) -> None:
        """Save the run before batch `batch` of epoch `epoch`; then stop here if that was asked for.

        Raises:
            KeyboardInterrupt: a stop was requested; the run can be resumed.
        """
        tensors = dict(self.extra())
        for number, layer in enumerate(self.network.layers, start=1):
            tensors |= {f"layers.{number}.{name}": value for name, value in layer.array.state().items()}
        self.folder.save(Checkpoint(Position(stage, epoch, batch), tensors, self.values))
        if self.stop.requested:
            raise KeyboardInterrupt


def recipe_dataset(recipe: Recipe, seed: int, data_dir: str | Path | None = None) -> Dataset:
    """The data set of a recipe, as small as it says, with its validation samples held out.

    Raises:
        DataError: it is missing or damaged.
    """
    dataset = load(recipe.data.name, data_dir)
    if recipe.data.shrink > 1:
        dataset = shrink(dataset, recipe.data.shrink)
    if recipe.data.validation_samples:
        dataset = hold_out(dataset, recipe.data.validation_samples, seed)
    return dataset


def plain_samples(recipe: Recipe, dataset: Dataset, part: str) -> PlainSamples:
    """One part of a data set, on the CPU, as a network of `recipe` reads it where nothing is learned."""
    pipeline = Pipeline(dataset, part, mean=recipe.data.mean, std=recipe.data.std)
    return PlainSamples(pipeline, rule_class(recipe.training.rule.name), len(dataset.classes))


def augmentation_of(recipe: AugmentationRecipe) -> Augmentation:
    """The data package's augmentation for a recipe's."""
    return Augmentation(
        recipe.translate_px, recipe.crop_padding_px, recipe.flip, recipe.rotate_deg, recipe.stretch
    )
