"""State shared by the stages of a run: its recipe, data, network, folder, checkpoints and stop request."""

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
from scff_hw.data import (
    Dataset,
    Mfcc,
    Pipeline,
    SequencePipeline,
    SpokenDigits,
    data_root,
    fit_scaling,
    hold_out,
    load_entry,
    load_spoken,
    shrink,
)
from scff_hw.documents import DataIdentity, Scaling
from scff_hw.errors import DataError
from scff_hw.recipes import Recipe
from scff_hw.training.features import PlainSamples
from scff_hw.training.progress import Progress
from scff_hw.training.readout.linear import ReadoutTransform
from scff_hw.training.run_folder import Checkpoint, Position, RunFolder

AnyDataset = Dataset | SpokenDigits


class StopRequest:
    """Delays Ctrl-C, SIGTERM and SIGHUP until the run is between two batches; a second signal stops immediately."""

    def __init__(self) -> None:
        self.requested = False
        self._nothing_to_save = False

    @contextmanager
    def stopping_immediately(self) -> Iterator[None]:
        """Context for work that a resumed run repeats anyway: a signal stops it immediately.

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
    def catching_signals(self) -> Iterator[None]:
        """Catch the signals in the main thread; in other threads, where Python cannot, do nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {
            number: signal.signal(number, self._received)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
            if signal.getsignal(number) is not signal.SIG_IGN
        }
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
    """State of a run in progress.

    Attributes:
        scaling: scaling of the data to inputs of the network.
        values: JSON results of the finished stages; part of every checkpoint.
        extra: returns the tensors that the current stage adds to a checkpoint, by dotted name.
    """

    recipe: Recipe
    seed: int
    dataset: AnyDataset
    scaling: Scaling
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

    def pipeline(self, part: str) -> Pipeline | SequencePipeline:
        """Scaled batches of one part of the data."""
        return pipeline_of(self.dataset, part, self.scaling, self.device)

    def plain(self, part: str) -> PlainSamples:
        """One part of the data, prepared for inference."""
        return PlainSamples(self.pipeline(part), self.rule, self.classes)

    @property
    def readout_transform(self) -> ReadoutTransform | None:
        """Maps a readout's weights and biases to those of the backend's inference; None for the identity."""
        return self.backend.readout if isinstance(self.backend, OwnArithmetic) else None

    def checkpoint(self, stage: str, epoch: int, batch: int) -> None:
        """Save the run before batch `batch` of epoch `epoch`; then stop if a stop was requested.

        Raises:
            KeyboardInterrupt: a stop was requested; the run can be resumed.
        """
        tensors = dict(self.extra())
        for array_name, array in self.network.arrays.items():
            tensors |= {f"{array_name}.{name}": value for name, value in array.state().items()}
        self.folder.save(Checkpoint(Position(stage, epoch, batch), tensors, self.values))
        if self.stop.requested:
            raise KeyboardInterrupt


def data_identity(recipe: Recipe, dataset: AnyDataset, data_dir: str | Path | None = None) -> DataIdentity:
    """Digest of a recipe's data set, and the folder it was read from."""
    own = recipe.data.own
    folder = "" if recipe.data.info.bundled else str(data_root(data_dir).absolute())
    return DataIdentity(digest=dataset.digest, folder=folder if own is None else str(own.path))


def check_data(actual: DataIdentity, expected: DataIdentity | None, where: Path) -> None:
    """Refuse data that differ from those of a run or study; the folder may differ.

    Args:
        expected: None if unknown: runs from before schema 1.
        where: folder of the run or study.

    Raises:
        DataError: the digests differ; the message has both digests, shortened, and both folders.
    """
    if expected is not None and expected.digest != actual.digest:
        raise DataError(
            f"The data in {actual.place} are not those of {where}: their digest must be {expected.digest[:12]}, as it "
            f"was in {expected.place}. Got {actual.digest[:12]} instead; name the folder of those data with --data-dir."
        )


def recipe_dataset(recipe: Recipe, seed: int, data_dir: str | Path | None = None) -> AnyDataset:
    """The data set of a recipe, shrunk as configured, with its validation samples held out.

    Raises:
        DataError: it is missing or damaged, or a part of it has too few samples.
        UsageError: the data set has no speaker of the name to leave out.
    """
    data = recipe.data
    dataset: AnyDataset
    if data.has_sequences:
        dataset = load_spoken(data_dir, Mfcc(**data.mfcc.model_dump()))
        if data.leave_out_speaker is not None:
            dataset = dataset.leave_out(data.leave_out_speaker)
    else:
        dataset = load_entry(data.info, data_dir)
        if data.shrink > 1:
            dataset = shrink(dataset, data.shrink)
    held_out = data.validation_samples
    # a sample is paired with another, so learning needs at least two
    least = {"train": 2 + held_out, data.learn_split: 2 + held_out * (data.learn_split == "train")}
    for part, count in (least if held_out else least | {"test": 1}).items():
        available = dataset.count(part)
        if available < count:
            reason = f", with data.validation_samples {held_out} held out" if held_out else ""
            raise DataError(
                f"The {part} part of {data.name} must hold at least {count} samples{reason}. Got {available}."
            )
    if not held_out:
        return dataset
    return dataset.hold_out(held_out, seed) if isinstance(dataset, SpokenDigits) else hold_out(dataset, held_out, seed)


def recipe_scaling(recipe: Recipe, dataset: AnyDataset) -> Scaling:
    """The scaling of a recipe's data set to inputs of its network."""
    data = recipe.data
    return fit_scaling(
        dataset, data.mean, data.std, per_feature=None if data.scale is None else data.scale == "per-feature"
    )


def pipeline_of(
    dataset: AnyDataset, part: str, scaling: Scaling, device: torch.device | str = "cpu"
) -> Pipeline | SequencePipeline:
    """Scaled batches of one part of a data set."""
    make: Any = SequencePipeline if isinstance(dataset, SpokenDigits) else Pipeline
    return make(dataset, part, scaling, device=device)


def plain_samples(recipe: Recipe, dataset: AnyDataset, part: str, scaling: Scaling | None = None) -> PlainSamples:
    """One part of a data set, on the CPU, prepared for inference by a network of `recipe`.

    Args:
        scaling: None for `recipe_scaling`.
    """
    rule = rule_class(recipe.training.rule.name)
    scaling = scaling or recipe_scaling(recipe, dataset)
    return PlainSamples(pipeline_of(dataset, part, scaling), rule, len(dataset.classes))
