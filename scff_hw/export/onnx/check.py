"""Checks of an exported graph against the library, sample by sample, and the metrics of the comparison."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scff_hw.core.pairs import Stream
from scff_hw.export.onnx.dependencies import onnx
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
"""Samples per batch: the integer reference unfolds a convolution's inputs, 64 bits each."""

FLOAT_TOLERANCE = 1e-5
"""Largest difference of a float graph's logits from the library's, relative to the largest logit."""

CLOSE = {"qdq": 0.1, "qonnx": 0.1, "qoperator": 0.2}
"""Largest mean difference of a quantised graph's logits from the integer reference's, relative to the largest logit; a
graph with more is wrong. Trained networks had at most 0.02; the model card lists the measured differences."""

Expected = Callable[..., Answers]
"""The library's features and logits for the inputs of a `Reader`."""

Readers = Callable[[Path, onnx.ModelProto], dict[str, Reader]]


@dataclass(frozen=True)
class Planned:
    """A file to write, and the criterion of its check.

    Attributes:
        criterion: "float", "integer", or a dialect of `CLOSE`.
        expected: the library's features and logits.
        units: factors that convert the file's features and logits to the integers that are expected.
        tolerance: largest difference allowed for a float graph.
        readers: creates the readers of the file.
    """

    model: onnx.ModelProto
    criterion: str
    expected: Expected
    units: tuple[float, float] = (1.0, 1.0)
    tolerance: float = FLOAT_TOLERANCE
    readers: Readers = readers


@dataclass
class Difference:
    """Differences of a reader's features and logits from the expected ones, over all samples.

    Attributes:
        features, logits: counts of values that differ.
        of_features, of_logits: counts of compared values.
        largest: largest difference of two logits.
        total: sum of the differences of logits.
        scale: largest logit.
        classes: count of samples whose class differs.
        correct: count of samples whose class equals their label.
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

    def add(self, answers: Answers, expected: Answers, labels: NDArray[np.int64]) -> None:
        """Compare another batch."""
        (f, z), (f_expected, z_expected) = answers, expected
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
        """Return the metrics, as values of `manifest.json`."""
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
    """Run a written file in every reader, on the first `count` samples and on one sample alone; metrics by reader.

    ONNX's reference evaluator is slow at pooling, so it runs fewer samples of models with large pools.

    Raises:
        ExportError: the file is not valid ONNX, a reader cannot compute it, or its results differ too much.
    """
    model = checked_model(path)
    differences: dict[str, Difference] = {}
    file_readers = file.readers(path, model)
    limits = dict.fromkeys(file_readers, count) | {EVALUATOR: min(count, evaluator_samples(model))}
    progress.start(f"checking {path.name}", sum(limits.values()))
    assert samples.labels is not None
    bounds = [(0, 1), *((start, min(start + CHUNK, count)) for start in range(0, count, CHUNK))]
    for start, stop in bounds:
        indices = torch.arange(start, stop)
        inputs = arrays(samples.batch(indices))
        labels = samples.labels[indices].numpy()
        expected = file.expected(*inputs)
        for name, read in file_readers.items():
            part = slice(0, max(limits[name] - start, 0))
            if not len(labels[part]):
                continue
            features, logits = _answers(name, read, [array[part] for array in inputs], path)
            units = file.units if file.criterion in CLOSE else (1, 1)
            answers = features * units[0], logits * units[1]
            if stop - start == 1 and (start, stop) == bounds[0]:
                # one sample alone checks the open batch; it is measured again below
                check_difference(path.name, name, file.criterion, _one(answers, expected, labels), file.tolerance)
                continue
            difference = differences.setdefault(name, Difference())
            difference.add(answers, (expected[0][part], expected[1][part]), labels[part])
            progress.advance(len(labels[part]))
    for name, difference in differences.items():
        check_difference(path.name, name, file.criterion, difference, file.tolerance)
    progress.finish()
    return {name: difference.to_json() for name, difference in differences.items()}


def arrays(samples: Stream) -> list[NDArray[Any]]:
    """Return the inputs of a graph: `x`, and for sequences their lengths."""
    x = samples.positive.numpy()
    return [x] if samples.lengths is None else [x, samples.lengths.numpy()]


def check_difference(
    file: str, reader: str, criterion: str, d: Difference, tolerance: float = FLOAT_TOLERANCE
) -> None:
    """Refuse results that differ too much from the library's.

    Raises:
        ExportError: names the file, the reader, and the difference.
    """
    subject = f"{reader} gives other results for {file} than the library"
    if not d.finite:
        raise ExportError(f"{subject}: some are not finite.")
    if criterion == "integer" and (d.features or d.logits):
        raise ExportError(
            f"{subject}: {d.features} of {d.of_features} features and {d.logits} of {d.of_logits} logits "
            "differ from the integer reference."
        )
    if criterion == "float" and d.relative > tolerance:
        raise ExportError(f"{subject}: logits differ by {d.relative:.2g} of the largest, more than {tolerance:.2g}.")
    if criterion in CLOSE and d.samples > 1 and d.mean > CLOSE[criterion]:
        raise TooFarError(
            f"{subject}: logits differ by {d.mean:.2g} of the largest on average, more than {CLOSE[criterion]:g}."
        )


def _answers(name: str, read: Reader, inputs: Sequence[NDArray[Any]], path: Path) -> Answers:
    try:
        return read(*inputs)
    except Exception as error:  # each runtime raises its own errors
        raise ExportError(f"{name} cannot compute {path.name} ({' '.join(str(error).split())[:300]}).") from error


def _one(answers: Answers, expected: Answers, labels: NDArray[np.int64]) -> Difference:
    difference = Difference()
    difference.add(answers, expected, labels)
    return difference
