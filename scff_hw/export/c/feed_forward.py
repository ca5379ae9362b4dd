"""Template values for a finished run of feed-forward layers: constants, numbers, buffers, golden vectors."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from itertools import pairwise

from scff_hw.backends.fixed.formats.formats import BIAS_GUARD_BITS
from scff_hw.backends.fixed.reference.layer import IntegerLayer
from scff_hw.documents import SCHEMA, CManifest
from scff_hw.documents.manifests import Buffer, CLayer, CReadout, GoldenCounts, Scratch
from scff_hw.errors import UsageError
from scff_hw.export.c.golden import GOLDEN_BATCH, golden
from scff_hw.export.c.inputs import input_values
from scff_hw.export.c.layer import WHERE, LayerConstants
from scff_hw.export.c.stream import Lesson
from scff_hw.export.c.targets import Device, check_fits
from scff_hw.export.c.text import array_texts, file_name, fracs_text, in_line, initialisers, numbers
from scff_hw.export.c.values import FeedForwardValues, LayerValues, ReadoutValues, SavedPart, ScratchValues
from scff_hw.export.fixed_run import IntegerRun
from scff_hw.training.progress import Progress

LEARNING_BATCH = 8


def feed_forward_values(
    network: IntegerRun, to: Device, batch_size: int | None, lesson: Lesson | None, progress: Progress
) -> tuple[FeedForwardValues, CManifest]:
    """Return the template values, and the manifest without digests and code sizes.

    Args:
        batch_size: samples per learning batch; None: 8, or fewer where the accumulators would overflow.

    Raises:
        UsageError: the target is too small, or the accumulators could overflow at this batch size.
    """
    recipe, layers = network.recipe, network.layers
    constants = [
        LayerConstants.of(layer.spec, len(layer.stored), shape)
        for layer, shape in zip(layers, network.shapes, strict=True)
    ]
    two_views = recipe.augmentation.two_views
    file = file_name(recipe.name)
    views = [two_views and index == 0 for index in range(len(layers))]
    max_count = min(c.max_rows // c.rows(view) for c, view in zip(constants, views, strict=True))
    if max_count < 2:
        raise UsageError(
            f"The accumulators of a run to export as C must hold the sums of 2 samples. Got "
            f"{recipe.fixed_point.accumulator_bits} bits in {network.run.path} instead; train it with more or narrower "
            "errors: --set fixed_point.accumulator_bits=32"
        )
    batch = batch_size or min(LEARNING_BATCH, max_count)
    if not 2 <= batch <= max_count:
        raise UsageError(
            f"The batch must be from 2 to {max_count}, whose sums fit their accumulators. Got {batch} instead."
        )
    classes, features = network.readout_weight.shape
    scratch = _scratch(constants, views, network.read_layers, classes)
    exported, learning = (
        LayerConstants.of_readout(classes, features, frac, network.feature_frac, layers[0].spec.formats.rounding)
        for frac in (network.readout_frac, network.learning_frac)
    )
    memory = _memory(constants, learning, scratch, network, batch)
    flash, ram = (sum(row.bytes for row in memory if row.where == where) for where in ("flash", "RAM"))
    check_fits(to, flash, ram, batch)
    layer_values, start = [], 0
    for index, (layer, c, rate) in enumerate(zip(layers, constants, network.rate_shifts, strict=True)):
        feature_offset = start if index in network.read_layers else None
        start += c.features if index in network.read_layers else 0
        layer_values.append(_layer(index, layer, c, rate, feature_offset, constants, views[index]))
        progress.advance()
    form = layers[0].spec.formats
    values = FeedForwardValues(
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
        learns=lesson is not None,
        input=input_values(network.run),
        input_frac=form.input.frac_bits,
        classes=classes,
        memory=memory,
        largest_save=max(c.save_size for c in (*constants, learning)),
        stochastic=form.stochastic,
        two_views=two_views,
        inputs=constants[0].inputs,
        shape=network.shapes[0],
        features=features,
        batch=batch,
        max_count=max_count,
        rates_text=in_line(network.rate_shifts),
        model_bytes=sum(sum(c.state_bytes.values()) for c in constants),
        learn_bytes=scratch.learn(batch),
        layers=tuple(layer_values),
        readout=_readout(network, exported, learning),
        scratch=scratch,
        golden=golden(network, constants, learning, min(GOLDEN_BATCH, max_count)),
        parts=_parts(file, len(layers)),
    )
    manifest = CManifest(
        schema=SCHEMA,
        made_by=f"scff-hw {values.version}",
        run=values.run,
        recipe=values.recipe,
        seed=values.seed,
        target=to.name,
        core=to.processor,
        rounding=form.rounding,
        update_rounding="stochastic" if form.stochastic else "nearest",
        layers=tuple(
            CLayer(layer=index + 1, formats=layer.spec.formats.to_json(), max_rows=c.max_rows)
            for index, (layer, c) in enumerate(zip(layers, constants, strict=True))
        ),
        readout=CReadout(
            weight_frac=network.readout_frac,
            learning_weight_frac=network.learning_frac,
            classes=classes,
            features=features,
        ),
        memory=memory,
        flash_bytes=flash,
        ram_bytes=ram,
        learning_batch=batch,
        learn_scratch_bytes=Scratch(per_sample=scratch.learn_per_sample, beside=scratch.learn_fixed),
        golden=GoldenCounts(answers=values.golden.samples, updates=values.golden.updates, batch=values.golden.count),
    )
    return values, manifest


def _readout(network: IntegerRun, exported: LayerConstants, learning: LayerConstants) -> ReadoutValues:
    """Return the readout, with the constants of the exported readout and of the readout that learns."""
    headroom_bits = network.readout_frac - network.learning_frac
    return ReadoutValues(
        c=learning,
        text=numbers(network.readout_weight.ravel()),
        bias_text=numbers(network.readout_bias << BIAS_GUARD_BITS),
        frac=network.readout_frac,
        feature_frac=network.feature_frac,
        flash_initialisers=initialisers(exported, "readout_frac"),
        initialisers=initialisers(learning, "readout_learning_frac"),
        shadow_factor=1 << (BIAS_GUARD_BITS - headroom_bits),
        bias_divisor=1 << headroom_bits,
    )


def _parts(file: str, layers: int) -> tuple[SavedPart, ...]:
    """Return the parts that `learn.c` compares at the end: every layer, then the readout."""
    guard = f"SCFF_{file.upper()}"
    return (
        *(
            SavedPart(f"layer {number}", f"l{number}", f"{guard}_L{number}_SAVE_SIZE", f"&model.l{number}")
            for number in range(1, layers + 1)
        ),
        SavedPart("the readout", "readout", f"{guard}_READOUT_SAVE_SIZE", "&readout"),
    )


def _scratch(
    constants: Sequence[LayerConstants], views: Sequence[bool], read_layers: Sequence[int], classes: int
) -> ScratchValues:
    forward = -(-max(c.forward_scratch for c in constants) // 4) * 4
    per_sample, fixed = zip(*(c.learn_scratch(view) for c, view in zip(constants, views, strict=True)), strict=True)
    streams = sum(c.transmitted * (1 if after.makes_pairs else 2) for c, after in pairwise(constants))
    features = sum(constants[index].features for index in read_layers)
    classify = forward + features + sum(c.transmitted for c in constants)
    return ScratchValues(
        forward=forward,
        classify=classify,
        label=classify + 4 * classes,
        layer_per_sample=max(per_sample),
        layer_fixed=max(fixed),
        learn_per_sample=max(per_sample) + streams,
        learn_fixed=max(fixed),
    )


def _layer(
    index: int,
    layer: IntegerLayer,
    c: LayerConstants,
    rate: int,
    feature_offset: int | None,
    constants: Sequence[LayerConstants],
    two_views: bool,
) -> LayerValues:
    """Return the template values for one layer."""
    form = layer.spec.formats
    if c.kernel:
        title = f"{c.units} kernels of {c.channels} x {c.kernel} x {c.kernel} over {c.height} x {c.width}"
    else:
        title = f"dense, {c.inputs} to {c.units}"
    per_sample, fixed = c.learn_scratch(two_views)
    return LayerValues(
        **vars(array_texts(layer, c, f"l{index + 1}")),
        number=index + 1,
        title=f"{title}, pairs {'made' if c.makes_pairs else 'passed'}",
        shadow_format=f"{form.shadow.bits} bits, frac {fracs_text(form.shadow.fracs)}" if form.shadow else "",
        bias_format=f"32 bits, frac {fracs_text(form.bias.fracs)}",
        rate_shift=rate,
        feature_offset=feature_offset,
        learn_per_sample=per_sample,
        learn_fixed=fixed,
        passes_both=index + 1 < len(constants) and not constants[index + 1].makes_pairs,
        before_last=index + 2 == len(constants),
    )


def _memory(
    constants: Sequence[LayerConstants],
    readout: LayerConstants,
    scratch: ScratchValues,
    network: IntegerRun,
    batch: int,
) -> tuple[Buffer, ...]:
    """Return the bytes of every buffer, without code. Classifying and learning share one scratch buffer."""
    rows: list[Buffer] = []
    for number, c in enumerate(constants, start=1):
        for where, what in WHERE:
            for name, size in c.state_bytes.items():
                if size:
                    rows.append(Buffer(buffer=f"layer {number}, {name}, {what}", where=where, bytes=size))
    size = network.readout_weight.size + 4 * network.classes
    rows.append(Buffer(buffer="readout, as exported", where="flash", bytes=size))
    rows.append(Buffer(buffer="logistic table", where="flash", bytes=1024))
    rows.append(Buffer(buffer="readout, learning", where="RAM", bytes=sum(readout.state_bytes.values())))
    size = constants[0].inputs * batch * (2 if network.recipe.augmentation.two_views else 1)
    rows.append(Buffer(buffer=f"{batch} samples to learn from", where="RAM", bytes=size))
    size = max(scratch.learn(batch), scratch.label)
    rows.append(Buffer(buffer=f"scratch to classify, and to learn from {batch} samples", where="RAM", bytes=size))
    return tuple(rows)
