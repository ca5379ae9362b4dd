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
    """Signal handler that delays Ctrl-C, SIGTERM and SIGHUP to the end of a batch; a second signal stops at once."""

    def __init__(self) -> None:
        self.requested = False
        self._nothing_to_save = False

    @contextmanager
    def stopping_immediately(self) -> Iterator[None]:
        """Let a signal stop the work in the `with` block immediately, since a resumed run repeats this work anyway.

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
        """Catch the signals within a `with` block in the main thread; in others, where Python cannot, do nothing."""
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
        values: JSON results of the finished stages; saved in every checkpoint.
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
        """Return scaled batches of `part` ("train", "test", "unlabelled")."""
        return pipeline_of(self.dataset, part, self.scaling, self.device)

    def plain(self, part: str) -> PlainSamples:
        """Return the scaled samples of `part` ("train", "test", "unlabelled") for inference."""
        return PlainSamples(self.pipeline(part), self.rule, self.classes)

    @property
    def readout_transform(self) -> ReadoutTransform | None:
        """Function from a readout's weights and biases to those that the backend infers with; None for the identity."""
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
    """Return the digest of `dataset`, and its folder or file ("" for a bundled data set)."""
    own = recipe.data.own
    folder = "" if recipe.data.info.bundled else str(data_root(data_dir).absolute())
    return DataIdentity(digest=dataset.digest, folder=folder if own is None else str(own.path))


def check_data(actual: DataIdentity, expected: DataIdentity | None, where: Path) -> None:
    """Check that the data are those of a run or study, by digest; their folder may differ.

    Args:
        expected: data of the run or study; None if unknown (runs from before schema 1).
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
    """Load the data set of `recipe`, shrunk as configured, with its validation samples held out.

    Raises:
        DataError: the data set is missing or damaged, or a part (train, test, unlabelled) has too few samples.
        UsageError: the data set has no speaker with the name to leave out.
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
    """Return the scaling (mean, std) of `dataset` to inputs of the recipe's network."""
    data = recipe.data
    return fit_scaling(
        dataset, data.mean, data.std, per_feature=None if data.scale is None else data.scale == "per-feature"
    )


def pipeline_of(
    dataset: AnyDataset, part: str, scaling: Scaling, device: torch.device | str = "cpu"
) -> Pipeline | SequencePipeline:
    """Return scaled batches of `part` ("train", "test", "unlabelled") of `dataset`."""
    make: Any = SequencePipeline if isinstance(dataset, SpokenDigits) else Pipeline
    return make(dataset, part, scaling, device=device)


def plain_samples(recipe: Recipe, dataset: AnyDataset, part: str, scaling: Scaling | None = None) -> PlainSamples:
    """Return the scaled samples of `part` ("train", "test", "unlabelled") for inference with `recipe`, on the CPU.

    Args:
        scaling: None for `recipe_scaling`.
    """
    rule = rule_class(recipe.training.rule.name)
    scaling = scaling or recipe_scaling(recipe, dataset)
    return PlainSamples(pipeline_of(dataset, part, scaling), rule, len(dataset.classes))
