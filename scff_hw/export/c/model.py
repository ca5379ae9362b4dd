"""A finished run as C that classifies and keeps learning: sources, weights, golden vectors, a selftest, a build."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

from scff_hw import paths
from scff_hw.backends.fixed.formats.formats import BIAS_GUARD_BITS
from scff_hw.backends.fixed.reference.layer import IntegerLayer
from scff_hw.documents import SCHEMA, CManifest
from scff_hw.documents.manifests import Buffer, CLayer, CReadout, GoldenCounts, Scratch
from scff_hw.errors import UsageError
from scff_hw.export.c.golden import GOLDEN_BATCH, golden
from scff_hw.export.c.inputs import input_values
from scff_hw.export.c.layer import WHERE, LayerConstants
from scff_hw.export.c.recurrent import FILES, recurrent_values
from scff_hw.export.c.sizes import function_sizes
from scff_hw.export.c.stream import STREAM, Lesson, write_stream
from scff_hw.export.c.targets import Device, check_fits, device
from scff_hw.export.c.text import array_texts, file_name, fracs_text, in_line, initialisers, numbers
from scff_hw.export.exporter import Exporter
from scff_hw.export.fixed_recurrent_run import RecurrentRun, has_one_direction
from scff_hw.export.fixed_run import IntegerRun, require_feed_forward, require_fixed
from scff_hw.export.toolchain import rendered
from scff_hw.training.finished import FinishedRun
from scff_hw.training.progress import Progress

LEARNING_BATCH = 8


@dataclass(frozen=True)
class COptions:
    """Attributes:
    target: "host", a shipped digital profile with a core, or the file of one.
    overrides: dotted `key=value` assignments to that profile.
    batch: samples that the device is to learn from at once, which its memories must hold; None: 8, or as many as its
        accumulators hold the sums of.
    lesson: the stream of samples for an image that learns; None: no such image.
    """

    target: str = "host"
    overrides: tuple[str, ...] = ()
    batch: int | None = None
    lesson: Lesson | None = None

    @cached_property
    def device(self) -> Device:
        """The target with its memories; errors as in `targets.device`."""
        return device(self.target, self.overrides)


class CExporter(Exporter[COptions, CManifest]):
    """A run of the fixed backend as C that classifies and keeps learning."""

    name = "c"
    Options = COptions

    def check(self, run: FinishedRun, options: COptions) -> None:
        _ = options.device
        require_fixed(run)
        if has_one_direction(run.recipe):
            if options.batch is not None or options.lesson is not None:
                raise UsageError(
                    "C of a recurrent layer takes one step at a time, and no stream of samples is written for it. "
                    f"Got {'--batch' if options.lesson is None else '--learn'} for {run.path}."
                )
        else:
            require_feed_forward(run)
        _check_rule(run)

    def write(self, run: FinishedRun, options: COptions, out: Path, progress: Progress) -> CManifest:
        if has_one_direction(run.recipe):
            manifest = self._write_recurrent(run, options, out, progress)
        else:
            manifest = self._write_layers(run, options, out, progress)
        return manifest.model_copy(update={"code": function_sizes(out, options.device)})

    def _write_layers(self, run: FinishedRun, options: COptions, out: Path, progress: Progress) -> CManifest:
        network = IntegerRun.of(run)
        progress.start("weights and golden vectors", len(network.layers))
        values, manifest = _values(network, options, progress)
        progress.finish()
        _write(out, values, options.device, _files(values["file"], values["learns"]))
        if options.lesson is None:
            return manifest
        lesson = write_stream(network, options.lesson, values["batch"], out / STREAM, progress)
        return manifest.model_copy(update={"lesson": lesson})

    def _write_recurrent(self, run: FinishedRun, options: COptions, out: Path, progress: Progress) -> CManifest:
        progress.start("weights and golden vectors", 1)
        values, manifest = recurrent_values(RecurrentRun.of(run), options.device, progress)
        progress.finish()
        files = {name: made_of.format(file=values["file"]) for name, made_of in FILES.items()}
        _write(out, values, options.device, files)
        return manifest


def export_c(
    run: Path,
    out: Path,
    target: str = "host",
    data_dir: Path | None = None,
    *,
    overrides: Iterable[str] = (),
    batch: int | None = None,
    lesson: Lesson | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write a finished run of the fixed backend as a folder of C, whole or not at all.

    Args:
        out: a folder that is not there yet, or an empty one.
        target, overrides, batch, lesson: see `COptions`.

    Returns:
        The folder's `manifest.json`.

    Raises:
        UsageError: the run, the folder or the target cannot be used, or is too small.
        ProfileError: the target's profile cannot be used.
        CheckpointError: not a finished run.
        DataError: its data set, which golden vectors are made of, is not there.
    """
    opened = FinishedRun.open(run, data_dir, purpose="exported")
    return CExporter().export(opened, out, COptions(target, tuple(overrides), batch, lesson), progress).as_json()


def _check_rule(run: FinishedRun) -> None:
    if (rule := run.recipe.training.rule.name) != "scff":
        raise UsageError(f"The rule of a run to export as C must be scff. Got '{rule}' in {run.path} instead.")


def _files(file: str, learns: bool) -> dict[str, str]:
    """Names of the files by those of their templates."""
    same = ["selftest.h", "selftest.c", "main.c", "Makefile", "CMakeLists.txt", "README.md"]
    return {
        "model.h": f"{file}.h",
        "model.c": f"{file}.c",
        **{name: name for name in [*same, *(["learn.c"] if learns else [])]},
    }


def _write(folder: Path, values: dict[str, Any], to: Device, files: dict[str, str]) -> None:
    source = paths.export() / "c"
    for part in ("include", "src"):
        _copy_sources(source / part, folder / "scff" / part)
    if to.profile is not None:
        _copy_sources(source / "board", folder / "board")
        files = files | {"link.ld": "board/link.ld"}
    for template, name in files.items():
        (folder / name).write_text(rendered("c", template, values), encoding="utf-8")


def _copy_sources(source: Path, folder: Path) -> None:
    """Copy C files and headers, not what an editor or an analyser left beside them."""
    folder.mkdir(parents=True)
    for path in sorted(source.glob("*.[ch]")):
        shutil.copyfile(path, folder / path.name)


def _values(
    network: IntegerRun, options: COptions, progress: Progress
) -> tuple[dict[str, Any], CManifest]:
    """What the templates print, and the manifest without what is known once files are written."""
    to = options.device
    recipe, layers = network.recipe, network.layers
    constants = [
        LayerConstants.of(layer.spec, len(layer.held), shape)
        for layer, shape in zip(layers, network.shapes, strict=True)
    ]
    two_views = recipe.augmentation.two_views
    file = file_name(recipe.name)
    views = [two_views and index == 0 for index in range(len(layers))]
    most = min(c.max_rows // c.rows(view) for c, view in zip(constants, views, strict=True))
    if most < 2:
        raise UsageError(
            f"The accumulators of a run to export as C must hold the sums of 2 samples. Got "
            f"{recipe.fixed_point.accumulator_bits} bits in {network.run.path} instead; train it with more or narrower "
            "errors: --set fixed_point.accumulator_bits=32"
        )
    batch = options.batch or min(LEARNING_BATCH, most)
    if not 2 <= batch <= most:
        raise UsageError(f"The batch must be from 2 to {most}, whose sums fit their accumulators. Got {batch} instead.")
    scratch = _scratch(constants, views, network.reads)
    classes, features = network.readout_weight.shape
    shown, learned = (
        LayerConstants.of_readout(classes, features, frac, network.feature_frac, layers[0].spec.formats.rounding)
        for frac in (network.readout_frac, network.learning_frac)
    )
    scratch["label_scratch"] = scratch["classify_scratch"] + 4 * classes
    memory = _memory(constants, learned, scratch, network, batch)
    flash, ram = (sum(row.bytes for row in memory if row.where == where) for where in ("flash", "RAM"))
    check_fits(to, flash, ram, batch)
    described, start = [], 0
    for index, (layer, c, rate) in enumerate(zip(layers, constants, network.rate_shifts, strict=True)):
        reads = start if index in network.reads else None
        start += c.features if index in network.reads else 0
        described.append(_layer(index, layer, c, rate, reads, constants, views[index]))
        progress.advance()
    form = layers[0].spec.formats
    count = min(GOLDEN_BATCH, most)
    values: dict[str, Any] = {
        "file": file,
        "prefix": f"scff_{file}",
        "guard": f"SCFF_{file.upper()}",
        **to.values,
        "learns": options.lesson is not None,
        "parts": [
            {
                "name": f"layer {number}",
                "short": f"l{number}",
                "size": f"SCFF_{file.upper()}_L{number}_SAVE_SIZE",
                "object": f"&model.l{number}",
            }
            for number in range(1, len(layers) + 1)
        ]
        + [
            {
                "name": "the readout",
                "short": "readout",
                "size": f"SCFF_{file.upper()}_READOUT_SAVE_SIZE",
                "object": "&readout",
            }
        ],
        "batch": batch,
        "description": recipe.description,
        "version": version("scff-hw"),
        "run": network.run.path.name,
        "recipe": recipe.name,
        "seed": network.seed,
        "rounding": form.rounding,
        "stochastic": form.stochastic,
        "two_views": two_views,
        "inputs": constants[0].inputs,
        "shape": network.shapes[0],
        "input_frac": form.input.one,
        **input_values(recipe, network.dataset),
        "classes": classes,
        "features": features,
        "layers": described,
        "max_count": most,
        "readout_text": numbers(network.readout_weight.ravel()),
        "readout_bias_text": numbers(network.readout_bias << BIAS_GUARD_BITS),
        "readout": learned,
        "readout_frac": network.readout_frac,
        "feature_frac": network.feature_frac,
        "readout_flash_initialisers": initialisers(shown, "readout_frac"),
        "readout_initialisers": initialisers(learned, "readout_learning_frac"),
        "readout_shadow_factor": 1 << (BIAS_GUARD_BITS - network.readout_frac + network.learning_frac),
        "readout_bias_divisor": 1 << (network.readout_frac - network.learning_frac),
        "rates_text": in_line(network.rate_shifts),
        "largest_save": max(c.save_size for c in (*constants, learned)),
        "memory": memory,
        "model_bytes": sum(sum(c.state_bytes.values()) for c in constants),
        "learn_bytes": scratch["learn_each"] * batch + scratch["learn_rest"],
        **scratch,
        **golden(network, constants, learned, count),
    }
    manifest = CManifest(
        schema=SCHEMA,
        made_by=f"scff-hw {values['version']}",
        run=network.run.path.name,
        recipe=recipe.name,
        seed=network.seed,
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
        learn_scratch_bytes=Scratch(per_sample=scratch["learn_each"], beside=scratch["learn_rest"]),
        golden=GoldenCounts(answers=values["golden_samples"], updates=values["golden_updates"], batch=count),
    )
    return values, manifest


def _scratch(constants: Sequence[LayerConstants], views: Sequence[bool], reads: Sequence[int]) -> dict[str, int]:
    """Bytes of scratch of the whole network."""
    forward = -(-max(c.forward_scratch for c in constants) // 4) * 4
    each, rest = zip(*(c.learn_scratch(view) for c, view in zip(constants, views, strict=True)), strict=True)
    streams = sum(c.transmitted * (1 if after.makes_pairs else 2) for c, after in pairwise(constants))
    features = sum(constants[index].features for index in reads)
    return {
        "forward_scratch": forward,
        "classify_scratch": forward + features + sum(c.transmitted for c in constants),
        "own_each": max(each),
        "own_rest": max(rest),
        "learn_each": max(each) + streams,
        "learn_rest": max(rest),
    }


def _layer(
    index: int,
    layer: IntegerLayer,
    c: LayerConstants,
    rate: int,
    reads: int | None,
    constants: Sequence[LayerConstants],
    two_views: bool,
) -> dict[str, Any]:
    """What the templates print of one layer."""
    form = layer.spec.formats
    if c.kernel:
        title = f"{c.units} kernels of {c.channels} x {c.kernel} x {c.kernel} over {c.height} x {c.width}"
    else:
        title = f"dense, {c.inputs} to {c.units}"
    each, rest = c.learn_scratch(two_views)
    return {
        "number": index + 1,
        "title": f"{title}, pairs {'made' if c.makes_pairs else 'passed'}",
        **array_texts(layer, c, f"l{index + 1}"),
        "shadow_format": f"{form.shadow.bits} bits, frac {fracs_text(form.shadow.fracs)}" if form.shadow else "",
        "bias_format": f"32 bits, frac {fracs_text(form.bias.fracs)}",
        "rate_shift": rate,
        "reads": reads,
        "learn_each": each,
        "learn_rest": rest,
        "passes_both": index + 1 < len(constants) and not constants[index + 1].makes_pairs,
        "before_last": index + 2 == len(constants),
    }


def _memory(
    constants: Sequence[LayerConstants],
    readout: LayerConstants,
    scratch: dict[str, int],
    network: IntegerRun,
    batch: int,
) -> tuple[Buffer, ...]:
    """Bytes of every buffer; code is not in it. One scratch serves all that a device does."""
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
    learn = scratch["learn_each"] * batch + scratch["learn_rest"]
    size = max(learn, scratch["label_scratch"])
    rows.append(Buffer(buffer=f"scratch to classify, and to learn from {batch} samples", where="RAM", bytes=size))
    return tuple(rows)
