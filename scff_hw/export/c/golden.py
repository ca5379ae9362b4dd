"""Golden vectors of the integer reference, which a selftest compares with."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from copy import deepcopy

import numpy as np
from numpy.typing import NDArray

from scff_hw.backends.fixed.reference.layer import IntegerLayer
from scff_hw.export.c.layer import LayerConstants, saved_bytes
from scff_hw.export.c.text import in_line, rows
from scff_hw.export.c.values import GoldenValues
from scff_hw.export.fixed_run import IntegerRun

GOLDEN_SAMPLES, GOLDEN_UPDATES, GOLDEN_BATCH = 8, 3, 4
LABEL_RATE_SHIFT = 7


def golden(
    network: IntegerRun, constants: Sequence[LayerConstants], readout_constants: LayerConstants, count: int
) -> GoldenValues:
    """Return the golden vectors of the integer reference.

    Logits and classes, the layers' state after each of a few updates, and the readout's state after it has learned a
    wrong class for each sample.
    """
    samples = network.samples("test", GOLDEN_SAMPLES)
    answers = network.logits(samples)
    stream = network.samples(network.recipe.data.learn_split, count + GOLDEN_UPDATES)
    layers = deepcopy(network.layers)
    crcs = []
    for update in range(GOLDEN_UPDATES):
        partner = (np.arange(count) + 1 + update % (count - 1)) % count
        learn(network, layers, stream[update : update + count], partner, network.rate_shifts)
        # drops the trailing CRC: the CRC of data followed by its own CRC is a constant
        crcs.append([zlib.crc32(saved_bytes(layer, c)[:-4]) for layer, c in zip(layers, constants, strict=True)])
    readout, labels = network.readout(), answers.argmin(axis=1)
    for features, label in zip(network.features(samples), labels, strict=True):
        readout.learn(features, int(label), LABEL_RATE_SHIFT)
    return GoldenValues(
        samples=len(samples),
        updates=GOLDEN_UPDATES,
        count=count,
        label_shift=LABEL_RATE_SHIFT,
        samples_text=rows(samples.reshape(len(samples), -1)),
        logits_text=rows(answers),
        classes_text=in_line(answers.argmax(axis=1)),
        stream_text=rows(stream.reshape(len(stream), -1)),
        crcs_text=rows(crcs, "u"),
        labels_text=in_line(labels),
        readout_crc=zlib.crc32(saved_bytes(readout, readout_constants)[:-4]),
    )


def learn(
    network: IntegerRun,
    layers: Sequence[IntegerLayer],
    x: NDArray[np.int64],
    partner: NDArray[np.int64],
    rate_shifts: Sequence[int],
) -> None:
    """Train all layers on one batch, one update per layer, as `scff_model_<recipe>_learn` does."""
    views = [x]
    for index, (layer, rate) in enumerate(zip(layers, rate_shifts, strict=True)):
        views = [network.shaped(index, view) for view in views]
        views = list(layer.learn(views, partner if layer.spec.makes_pairs else None, rate))
        if index + 1 < len(layers) and layers[index + 1].spec.makes_pairs:
            views = views[:1]
