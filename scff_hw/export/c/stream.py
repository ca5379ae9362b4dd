"""The stream of samples that a learning image reads from its host, and the expected result of the integer reference.

The stream is one file, little endian: `SCFS`, then version, inputs, layers, classes, largest batch and seed in 32 bits
each. Records follow, each with a kind and a count in 32 bits:

    1  partner shift, one rate shift per layer, [count][inputs] samples  a batch to learn from, without labels
    2  rate shift, [count] of (8-bit label, sample)                      labelled samples; the readout learns from each
    3  [count] of (8-bit label, sample)                                  test samples; correct answers are counted
    0  correct answers, one CRC per layer and one of the readout         the end: expected results (count: test samples)
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from scff_hw.backends.fixed.reference.arithmetic import rate_shift, xorshift32
from scff_hw.backends.fixed.reference.layer import IntegerLayer
from scff_hw.backends.fixed.reference.readout import IntegerReadout, untrained
from scff_hw.core.schedules import learning_rate, step_of
from scff_hw.documents.manifests import LessonResult
from scff_hw.errors import UsageError
from scff_hw.export.c.golden import learn
from scff_hw.export.c.layer import LayerConstants, saved_bytes
from scff_hw.export.fixed_run import IntegerRun, Ints
from scff_hw.training.progress import Progress

STREAM = "stream.bin"
VERSION = 1
LABEL_RATES = (7, 8)
"""Rate shift of each of the readout's passes over its labelled samples."""


@dataclass(frozen=True)
class Lesson:
    """The training of a device, from random weights.

    Attributes:
        samples: number of samples, the first of the learning split, from which the layers learn without labels.
        epochs: passes over them.
        labels: number of labelled samples, the first of the training part, from which the readout then learns.
        tests: number of test samples, the first of the test part, that are classified at the end.
        seed: seed of the random weights and of the partners.
    """

    samples: int
    labels: int
    tests: int
    epochs: int = 1
    seed: int = 1


def write_stream(
    network: IntegerRun, lesson: Lesson, batch: int, path: Path, progress: Progress
) -> LessonResult:
    """Write the stream of a lesson, and train the integer reference on it.

    Args:
        batch: samples per batch.

    Returns:
        The reference's results: correct answers of `tests`, and those of a readout on untrained layers.

    Raises:
        UsageError: fewer samples than a batch.
    """
    classes, features = network.readout_weight.shape
    x = network.samples(network.recipe.data.learn_split, lesson.samples)
    if len(x) < batch:
        raise UsageError(f"The samples to learn from must fill a batch of {batch}. Got {len(x)} instead.")
    labelled = _labelled(network, "train", lesson.labels)
    tests = _labelled(network, "test", lesson.tests)
    layers = deepcopy(network.layers)
    for number, layer in enumerate(layers, start=1):
        layer.start(lesson.seed + number)
    control = _answers(network, deepcopy(layers), labelled, tests, None, progress)[0]
    with path.open("wb") as file:
        inputs = int(np.prod(network.shapes[0]))
        file.write(b"SCFS" + struct.pack("<6I", VERSION, inputs, len(layers), classes, batch, lesson.seed))
        batches = list(_batches(len(x), batch, lesson))
        progress.start("learning, as the device will", len(batches))
        for number, (first, partner_shift) in enumerate(batches):
            rates = _rate_shifts(network, number * batch)
            samples = x[first : first + batch]
            learn(network, layers, samples, (np.arange(batch) + partner_shift) % batch, rates)
            file.write(struct.pack(f"<III{len(rates)}i", 1, batch, partner_shift, *rates))
            file.write(_bytes(samples))
            progress.advance()
        progress.finish()
        correct, readout = _answers(network, layers, labelled, tests, file, progress)
        constants = [
            LayerConstants.of(layer.spec, len(layer.stored), shape)
            for layer, shape in zip(layers, network.shapes, strict=True)
        ]
        form = LayerConstants.of_readout(
            classes, features, network.learning_frac, network.feature_frac, readout.rounding
        )
        crcs = [zlib.crc32(saved_bytes(layer, c)[:-4]) for layer, c in zip(layers, constants, strict=True)]
        crcs.append(zlib.crc32(saved_bytes(readout, form)[:-4]))
        file.write(struct.pack(f"<III{len(crcs)}I", 0, len(tests[0]), correct, *crcs))
    return LessonResult(
        samples=len(x),
        epochs=lesson.epochs,
        batch=batch,
        labels=len(labelled[0]),
        seed=lesson.seed,
        tests=len(tests[0]),
        correct=correct,
        correct_untrained=control,
        crcs=tuple(crcs),
    )


def _batches(samples: int, batch: int, lesson: Lesson) -> Iterator[tuple[int, int]]:
    """The first sample and the partner shift of each batch; a last, incomplete batch is dropped."""
    state = np.array([lesson.seed or 1], np.uint32)
    for _ in range(lesson.epochs):
        for first in range(0, samples - batch + 1, batch):
            state = xorshift32(state)
            yield first, 1 + int(state[0]) % (batch - 1)


def _rate_shifts(network: IntegerRun, first: int) -> list[int]:
    """Return the trainer's rate shift of each layer for a batch that starts at sample `first`, counted from 0."""
    recipe = network.recipe
    step = step_of(first, min(recipe.training.batch_size, len(network.dataset.part(recipe.data.learn_split))))
    return [rate_shift(learning_rate(layer.learn, step)) for layer in recipe.layers]


def _answers(
    network: IntegerRun,
    layers: Sequence[IntegerLayer],
    labelled: tuple[Ints, Ints],
    tests: tuple[Ints, Ints],
    file: BinaryIO | None,
    progress: Progress,
) -> tuple[int, IntegerReadout]:
    """Train a readout on the layers' features; returns its correct answers on `tests`, and the readout."""
    classes, features = network.readout_weight.shape
    rounding = layers[0].spec.formats.rounding
    readout = untrained(classes, features, network.learning_frac, network.feature_frac, rounding)
    name = "untrained layers" if file is None else "readout"
    progress.start(name, len(labelled[0]) + len(tests[0]))
    rows = _features(network, layers, labelled[0], progress)
    for shift in LABEL_RATES:
        if file is not None:
            file.write(struct.pack("<IIi", 2, len(rows), shift))
        for k, (row, label) in enumerate(zip(rows, labelled[1], strict=True)):
            if file is not None:
                file.write(bytes([int(label)]) + _bytes(labelled[0][k]))
            readout.learn(row, int(label), shift)
    predicted = readout.logits(_features(network, layers, tests[0], progress)).argmax(axis=1)
    if file is not None:
        file.write(struct.pack("<II", 3, len(predicted)))
        for sample, label in zip(*tests, strict=True):
            file.write(bytes([int(label)]) + _bytes(sample))
    progress.finish()
    return int((predicted == tests[1]).sum()), readout


def _features(network: IntegerRun, layers: Sequence[IntegerLayer], x: Ints, progress: Progress) -> Ints:
    chunks = []
    for first in range(0, len(x), 256):
        chunks.append(network.features(x[first : first + 256], layers))
        progress.advance(len(chunks[-1]))
    return np.concatenate(chunks)


def _labelled(network: IntegerRun, part: str, count: int) -> tuple[Ints, Ints]:
    x = network.samples(part, count)
    labels = network.dataset.part(part).labels
    assert labels is not None, f"the part {part} of every data set of a recipe has labels"
    return x, labels[: len(x)].numpy()


def _bytes(x: Ints) -> bytes:
    return x.astype(np.int8).tobytes()
