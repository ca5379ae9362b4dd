"""Export of a recurrent layer of one direction as C that takes one frame per step and learns."""

from __future__ import annotations

import zlib
from copy import deepcopy
from importlib.metadata import version
from itertools import pairwise

import numpy as np

from scff_hw.backends.fixed.formats.formats import BIAS_GUARD_BITS
from scff_hw.backends.fixed.reference.layer import IntegerLayer
from scff_hw.backends.fixed.reference.recurrent import StreamingRecurrent
from scff_hw.documents import SCHEMA, CManifest
from scff_hw.documents.manifests import Buffer, CReadout, GoldenCounts
from scff_hw.errors import UsageError
from scff_hw.export.c.inputs import input_values
from scff_hw.export.c.layer import WHERE, LayerConstants, saved_bytes
from scff_hw.export.c.targets import Device, check_fits
from scff_hw.export.c.text import array_texts, file_name, in_line, initialisers, numbers, rows
from scff_hw.export.c.values import ArrayValues, RecurrentGolden, RecurrentReadout, RecurrentValues
from scff_hw.export.fixed_recurrent_run import RecurrentRun
from scff_hw.training.progress import Progress

GOLDEN_ANSWERS, GOLDEN_UPDATES, GOLDEN_PAIRS = 3, 3, 2

FILES = {
    "recurrent.h": "{file}.h",
    "recurrent.c": "{file}.c",
    "recurrent_selftest.c": "selftest.c",
    "recurrent_readme.md": "README.md",
    **{name: name for name in ("selftest.h", "main.c", "Makefile", "CMakeLists.txt")},
}
"""File names of a recurrent run by template name."""


def recurrent_values(
    network: RecurrentRun, to: Device, progress: Progress
) -> tuple[RecurrentValues, CManifest]:
    """Return the template values, and the manifest without digests and code sizes.

    Raises:
        UsageError: the target is too small, or sums of two sequences could overflow.
    """
    recipe, direction = network.recipe, network.direction
    units, features = direction.inputs.stored.shape
    form = direction.hidden.spec.formats
    arrays = {name: _array(name, array) for name, array in (("inputs", direction.inputs), ("hidden", direction.hidden))}
    max_steps = min(arrays["inputs"].c.max_rows // 4, arrays["hidden"].c.max_rows // 2)
    file = file_name(recipe.name)
    classes, outputs = network.readout_weight.shape
    readout = LayerConstants.of_readout(classes, outputs, network.readout_frac, form.feature.frac_bits, form.rounding)
    step, learn = 4 * units + features, 8 * units + 2 * features
    scratch = -(-learn // 4) * 4
    memory = (
        *(
            Buffer(buffer=f"{name}, {part}, {what}", where=where, bytes=size)
            for where, what in WHERE
            for name, array in arrays.items()
            for part, size in array.c.state_bytes.items()
            if size
        ),
        Buffer(buffer="readout, as exported", where="flash", bytes=network.readout_weight.size + 4 * classes),
        Buffer(buffer="logistic table", where="flash", bytes=1024),
        Buffer(buffer="sums of gradients", where="RAM", bytes=4 * units * (features + units + 1)),
        Buffer(buffer="states of a pair, and the sum over time", where="RAM", bytes=6 * units),
        Buffer(buffer="scratch of a step", where="RAM", bytes=scratch),
    )
    flash, ram = (sum(row.bytes for row in memory if row.where == where) for where in ("flash", "RAM"))
    check_fits(to, flash, ram, GOLDEN_PAIRS)
    progress.advance()
    golden = recurrent_golden(network, max_steps)
    values = RecurrentValues(
        file=file,
        prefix=f"scff_{file}",
        guard=f"SCFF_{file.upper()}",
        version=version("scff-hw"),
        run=network.run.path.name,
        recipe=recipe.name,
        description=recipe.description,
        seed=network.seed,
        rounding=form.rounding,
        target=to.values,
        learns=False,
        input=input_values(network.run),
        input_frac=direction.inputs.spec.formats.input.frac_bits,
        classes=classes,
        memory=memory,
        largest_save=max(array.c.save_size for array in arrays.values()),
        features=features,
        units=units,
        outputs=outputs,
        averages=int(network.layer.averages),
        arrays=arrays,
        rate_shift=network.rate_shift,
        max_steps=max_steps,
        step_scratch=step,
        learn_scratch=learn,
        readout=RecurrentReadout(
            text=numbers(network.readout_weight.ravel()),
            bias_text=numbers(network.readout_bias << BIAS_GUARD_BITS),
            frac=network.readout_frac,
            initialisers=initialisers(readout, "readout_frac"),
        ),
        golden=golden,
    )
    manifest = CManifest(
        schema=SCHEMA,
        made_by=f"scff-hw {values.version}",
        run=values.run,
        recipe=recipe.name,
        seed=network.seed,
        target=to.name,
        core=to.processor,
        rounding=form.rounding,
        update_rounding="stochastic" if form.stochastic else "nearest",
        arrays={
            name: array.spec.formats.to_json()
            for name, array in (("inputs", direction.inputs), ("hidden", direction.hidden))
        },
        max_steps=max_steps,
        readout=CReadout(weight_frac=network.readout_frac, classes=classes, features=outputs),
        memory=memory,
        flash_bytes=flash,
        ram_bytes=ram,
        golden=GoldenCounts(answers=golden.answers, updates=golden.updates, batch=GOLDEN_PAIRS),
    )
    return values, manifest


def _array(name: str, array: IntegerLayer) -> ArrayValues:
    """Return the template values for an array."""
    return array_texts(array, _constants(array), name)


def recurrent_golden(network: RecurrentRun, max_steps: int) -> RecurrentGolden:
    """Golden vectors: logits of whole sequences, and CRCs of the state after each of a few updates from pairs."""
    test = network.sequences("test", range(GOLDEN_ANSWERS))
    logits = network.logits(test)
    train = network.sequences("train", range(GOLDEN_UPDATES + GOLDEN_PAIRS - 1))
    longest = max(len(a) + len(b) for a, b in pairwise(train))
    if longest > max_steps:
        raise UsageError(
            f"The accumulators of a run to export as C must hold the sums of {longest} steps, of two sequences. They "
            f"hold those of {max_steps}; train it with narrower errors: --set fixed_point.error_bits=8"
        )
    streaming = StreamingRecurrent(deepcopy(network.layer))
    direction = streaming.direction
    constants = [_constants(array) for array in (direction.inputs, direction.hidden)]
    crcs = []
    for update in range(GOLDEN_UPDATES):
        pair = train[update : update + GOLDEN_PAIRS]
        streaming.begin(GOLDEN_PAIRS)
        for own, other in (pair, pair[::-1]):
            streaming.begin_pair()
            for t, frame in enumerate(own):
                streaming.learn(frame, other[t] if t < len(other) else None)
        streaming.apply(network.rate_shift)
        arrays = zip((direction.inputs, direction.hidden), constants, strict=True)
        crcs.append([zlib.crc32(saved_bytes(array, c)[:-4]) for array, c in arrays])
    sequences = [*test, *train]
    return RecurrentGolden(
        answers=len(test),
        updates=GOLDEN_UPDATES,
        frames_text=numbers(np.concatenate(sequences).ravel()),
        first_text=numbers(np.cumsum([0, *map(len, sequences)]), "u"),
        logits_text=rows(logits),
        classes_text=in_line(logits.argmax(axis=1)),
        crcs_text=rows(crcs, "u"),
    )


def _constants(array: IntegerLayer) -> LayerConstants:
    units, fan_in = array.stored.shape
    return LayerConstants.of(array.spec, units, (fan_in,))
