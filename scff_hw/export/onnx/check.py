"""What an exported graph is held to, sample by sample, and the figures of how well it does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scff_hw.core.streams import Stream
from scff_hw.export.onnx.parts import onnx
from scff_hw.export.onnx.runtimes import (
    EVALUATOR,
    Answers,
    ExportError,
    Reader,
    TooFarError,
    checked_model,
    evaluator_samples,
    readers,
)
from scff_hw.training.features import PlainSamples
from scff_hw.training.progress import Progress

CHUNK = 100
"""Samples at a time: the integer reference unfolds a convolution's inputs, in 64 bits each."""

FLOAT_TOLERANCE = 1e-5
"""Largest difference of a float graph's logits from the library's, over the largest of those."""

CLOSE = {"qdq": 0.1, "qonnx": 0.1, "qoperator": 0.2}
"""Mean difference of a quantised graph's logits from the integer reference's, over the largest of those: beyond,
something is wrong with the graph. Of trained networks at most 0.02 was seen; the model card has what was measured."""

Expected = Callable[..., Answers]
"""The library's own answers for the inputs of a `Reader`."""

Readers = Callable[[Path, onnx.ModelProto], dict[str, Reader]]


@dataclass(frozen=True)
class Planned:
    """A file to be written, and what it is held to.

    Attributes:
        criterion: "float", "integer", or a dialect of `CLOSE`.
        expected: the library's own answers.
        units: by which features and logits of the file are multiplied before they are compared, in steps of the
            integers expected.
        tolerance: of a float graph.
        readers: makes the readers of the file.
    """

    model: onnx.ModelProto
    criterion: str
    expected: Expected
    units: tuple[float, float] = (1.0, 1.0)
    tolerance: float = FLOAT_TOLERANCE
    readers: Readers = readers


@dataclass
class Difference:
    """How far a reader's answers are from those expected, over all samples.

    Attributes:
        features, logits: numbers that differ.
        of_features, of_logits: numbers compared.
        largest: difference of two logits.
        total: of the differences of logits.
        scale: the largest logit.
        classes: samples whose class differs.
        correct: samples whose class is that of their label.
    """

    samples: int = 0
    features: int = 0
    of_features: int = 0
    logits: int = 0
    of_logits: int = 0
    largest: float = 0.0
    total: float = 0.0
    scale: float = 0.0
    classes: int = 0
    correct: int = 0
    finite: bool = field(default=True)

    def add(self, found: Answers, expected: Answers, labels: NDArray[np.int64]) -> None:
        """Compare one batch more."""
        (f, z), (f_expected, z_expected) = found, expected
        if f.shape != f_expected.shape or z.shape != z_expected.shape:
            raise ExportError(f"Logits must have the shape {z_expected.shape}. Got {z.shape} instead.")
        gap = np.abs(z.astype(np.float64) - z_expected)
        classes = z.argmax(axis=1)
        self.samples += len(z)
        self.features += int((f != f_expected).sum())
        self.of_features += f.size
        self.logits += int((z != z_expected).sum())
        self.of_logits += z.size
        self.finite &= bool(np.isfinite(gap).all())
        self.largest = max(self.largest, float(gap.max()))
        self.total += float(gap.sum())
        self.scale = max(self.scale, float(np.abs(z_expected).max()))
        self.classes += int((classes != z_expected.argmax(axis=1)).sum())
        self.correct += int((classes == labels).sum())

    @property
    def relative(self) -> float:
        return self.largest / self.scale if self.scale else self.largest

    @property
    def mean(self) -> float:
        return self.total / self.of_logits / self.scale if self.scale else self.total

    def to_json(self) -> dict[str, Any]:
        """Figures for people and programs."""
        return {
            "samples": self.samples,
            "accuracy": self.correct / self.samples,
            "features_equal": 1 - self.features / self.of_features,
            "logits_equal": 1 - self.logits / self.of_logits,
            "classes_equal": 1 - self.classes / self.samples,
            "largest_logit_difference": self.relative,
            "mean_logit_difference": self.mean,
        }


def check_file(
    path: Path, file: Planned, samples: PlainSamples, count: int, progress: Progress
) -> dict[str, dict[str, Any]]:
    """Read a written file with every reader, on the first `count` samples and on one alone; figures by reader.

    ONNX's reference evaluator, which is slow at pools, reads fewer where there are large ones.

    Raises:
        ExportError: the file is not valid ONNX, a reader cannot compute it, or its answers are not good enough.
    """
    model = checked_model(path)
    found: dict[str, Difference] = {}
    reading = file.readers(path, model)
    limits = dict.fromkeys(reading, count) | {EVALUATOR: min(count, evaluator_samples(model))}
    progress.start(f"checking {path.name}", sum(limits.values()))
    assert samples.labels is not None
    bounds = [(0, 1), *((start, min(start + CHUNK, count)) for start in range(0, count, CHUNK))]
    for start, stop in bounds:
        indices = torch.arange(start, stop)
        inputs = arrays(samples.batch(indices))
        labels = samples.labels[indices].numpy()
        wanted = file.expected(*inputs)
        for name, read in reading.items():
            mine = slice(0, max(limits[name] - start, 0))
            if not len(labels[mine]):
                continue
            features, logits = _answers(name, read, [each[mine] for each in inputs], path)
            units = file.units if file.criterion in CLOSE else (1, 1)
            answers = features * units[0], logits * units[1]
            if stop - start == 1 and (start, stop) == bounds[0]:
                # one sample alone: the batch is open; what it gives is measured below
                check_difference(path.name, name, file.criterion, _one(answers, wanted, labels), file.tolerance)
                continue
            found.setdefault(name, Difference()).add(answers, (wanted[0][mine], wanted[1][mine]), labels[mine])
            progress.advance(len(labels[mine]))
    for name, difference in found.items():
        check_difference(path.name, name, file.criterion, difference, file.tolerance)
    progress.finish()
    return {name: difference.to_json() for name, difference in found.items()}


def arrays(samples: Stream) -> list[NDArray[Any]]:
    """Samples as the inputs of a graph: `x`, and of sequences their lengths."""
    x = samples.positive.numpy()
    return [x] if samples.lengths is None else [x, samples.lengths.numpy()]


def check_difference(
    file: str, reader: str, criterion: str, found: Difference, tolerance: float = FLOAT_TOLERANCE
) -> None:
    """Refuse answers that are not good enough.

    Raises:
        ExportError: names the file, the reader, and by how much it is off.
    """
    who = f"{reader} gives other answers for {file} than the library"
    if not found.finite:
        raise ExportError(f"{who}: some are not finite.")
    if criterion == "integer" and (found.features or found.logits):
        raise ExportError(
            f"{who}: {found.features} of {found.of_features} features and {found.logits} of {found.of_logits} logits "
            "differ from the integer reference."
        )
    if criterion == "float" and found.relative > tolerance:
        raise ExportError(f"{who}: logits differ by {found.relative:.2g} of the largest, more than {tolerance:.2g}.")
    if criterion in CLOSE and found.samples > 1 and found.mean > CLOSE[criterion]:
        raise TooFarError(
            f"{who}: logits differ by {found.mean:.2g} of the largest on average, more than {CLOSE[criterion]:g}."
        )


def _answers(name: str, read: Reader, inputs: Sequence[NDArray[Any]], path: Path) -> Answers:
    try:
        return read(*inputs)
    except Exception as error:  # each runtime raises errors of its own
        raise ExportError(f"{name} cannot compute {path.name} ({' '.join(str(error).split())[:300]}).") from error


def _one(answers: Answers, wanted: Answers, labels: NDArray[np.int64]) -> Difference:
    found = Difference()
    found.add(answers, wanted, labels)
    return found
