"""A finished run as C that classifies and keeps learning: sources, weights, golden vectors, a selftest, a build."""

from __future__ import annotations

import json
import re
import shutil
import zlib
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy.typing import NDArray

from scff_hw import paths
from scff_hw.backends.fixed.reference import IntegerLayer
from scff_hw.errors import UsageError, nearest
from scff_hw.export.c_layer import LayerConstants, PoolConstants, saved_bytes
from scff_hw.export.folder import appearing, digests
from scff_hw.export.integers import IntegerRun, read_run

GOLDEN_SAMPLES, GOLDEN_UPDATES, GOLDEN_BATCH = 8, 3, 4
LINE = 112
"""Characters of a line of numbers."""


@dataclass(frozen=True)
class CTarget:
    """What a selftest is built for.

    Attributes:
        flags: of arm-none-eabi-gcc; none on the host.
        board: that QEMU emulates it on.
        flash, ram: origin and length there.
    """

    flags: str = ""
    board: str = ""
    flash: tuple[str, str] = ("", "")
    ram: tuple[str, str] = ("", "")


_MPS2 = (("0x00000000", "4M"), ("0x20000000", "4M"))

TARGETS = {
    "host": CTarget(),
    # QEMU has no Cortex-M0 board with this much memory; a Cortex-M3 runs every instruction of one
    "cortex-m0": CTarget("-mcpu=cortex-m0 -mthumb", "mps2-an385", *_MPS2),
    "cortex-m3": CTarget("-mcpu=cortex-m3 -mthumb", "mps2-an385", *_MPS2),
    "cortex-m4": CTarget("-mcpu=cortex-m4 -mthumb", "mps2-an386", *_MPS2),
    "cortex-m7": CTarget("-mcpu=cortex-m7 -mthumb", "mps2-an500", *_MPS2),
    "cortex-m33": CTarget("-mcpu=cortex-m33 -mthumb", "mps2-an505", ("0x10000000", "4M"), ("0x38000000", "4M")),
    "cortex-m55": CTarget(
        "-mcpu=cortex-m55 -mthumb -mfloat-abi=hard", "mps3-an547", ("0x00000000", "512K"), ("0x21000000", "2M")
    ),
}


def export_c(run: Path, out: Path, target: str = "host", data_dir: Path | None = None) -> dict[str, Any]:
    """Write a finished run of the fixed backend as a folder of C, whole or not at all.

    Args:
        out: a folder that is not there yet, or an empty one.
        target: one of `TARGETS`.

    Returns:
        The folder's `manifest.json`.

    Raises:
        UsageError: the run, the folder or the target cannot be used.
        CheckpointError: not a finished run.
        DataError: its data set, which golden vectors are made of, is not there.
    """
    if target not in TARGETS:
        raise UsageError(
            f"The target must be one of {', '.join(TARGETS)}. Got '{target}' instead{nearest(target, TARGETS)}."
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"The folder to export to must be new or empty. Got {out} instead.")
    network = read_run(run)
    if (rule := network.recipe.training.rule.name) != "scff":
        raise UsageError(f"The rule of a run to export as C must be scff. Got '{rule}' in {run} instead.")
    values, manifest = _values(network, run, target, data_dir)
    with appearing(out) as made:
        _write(made, values, target)
        manifest["files"] = digests(made)
        (made / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return manifest


def _write(folder: Path, values: dict[str, Any], target: str) -> None:
    source = paths.export() / "c"
    environment = Environment(
        loader=FileSystemLoader(source / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    file = values["file"]
    made = {
        "model.h": f"{file}.h",
        "model.c": f"{file}.c",
        "selftest.h": "selftest.h",
        "selftest.c": "selftest.c",
        "main.c": "main.c",
        "Makefile": "Makefile",
        "CMakeLists.txt": "CMakeLists.txt",
        "README.md": "README.md",
    }
    for part in ("include", "src"):
        shutil.copytree(source / part, folder / "scff" / part, copy_function=shutil.copyfile)
    if target != "host":
        shutil.copytree(source / "board", folder / "board", copy_function=shutil.copyfile)
        made["link.ld"] = "board/link.ld"
    for template, name in made.items():
        text = environment.get_template(f"{template}.jinja").render(values)
        (folder / name).write_text(text, encoding="utf-8")


def _values(
    network: IntegerRun, run: Path, target: str, data_dir: Path | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the templates print, and the manifest without its files."""
    recipe, layers = network.recipe, network.layers
    constants = [
        LayerConstants.of(layer.spec, len(layer.held), shape)
        for layer, shape in zip(layers, network.shapes, strict=True)
    ]
    two_views = recipe.augmentation.two_views
    file = re.sub(r"[^a-z0-9]+", "_", recipe.name.lower()).strip("_")
    file = file if file not in ("selftest", "main") else f"{file}_model"
    views = [two_views and index == 0 for index in range(len(layers))]
    most = min(c.max_rows // c.rows(view) for c, view in zip(constants, views, strict=True))
    if most < 2:
        raise UsageError(
            f"The accumulators of a run to export as C must hold the sums of 2 samples. Got "
            f"{recipe.fixed_point.accumulator_bits} bits in {run} instead; train it with more or narrower errors: "
            "--set fixed_point.accumulator_bits=32"
        )
    scratch = _scratch(constants, views, network.reads)
    described, start = [], 0
    for index, (layer, c, rate) in enumerate(zip(layers, constants, network.rate_shifts, strict=True)):
        reads = start if index in network.reads else None
        start += c.features if index in network.reads else 0
        described.append(_layer(index, layer, c, rate, reads, scratch, constants, views[index]))
    memory = _memory(described, constants, scratch, network)
    form = layers[0].spec.formats
    count = min(GOLDEN_BATCH, most)
    values: dict[str, Any] = {
        "file": file,
        "prefix": f"scff_{file}",
        "guard": f"SCFF_{file.upper()}",
        "target": target,
        "flags": TARGETS[target].flags,
        "board": TARGETS[target].board,
        "flash": TARGETS[target].flash,
        "ram": TARGETS[target].ram,
        "description": recipe.description,
        "version": version("scff-hw"),
        "run": run.name,
        "recipe": recipe.name,
        "seed": network.seed,
        "rounding": form.rounding,
        "stochastic": form.stochastic,
        "two_views": two_views,
        "inputs": constants[0].inputs,
        "shape": network.shapes[0],
        "input_frac": form.input.one,
        "input_note": _input_note(network),
        "classes": network.classes,
        "features": network.readout_weight.shape[1],
        "layers": described,
        "max_count": most,
        "readout_text": numbers(network.readout_weight.ravel()),
        "readout_bias_text": numbers(network.readout_bias),
        "rates_text": ", ".join(map(str, network.rate_shifts)),
        "largest_save": max(c.save_size for c in constants),
        "memory": memory,
        "model_bytes": sum(sum(c.state_bytes.values()) for c in constants),
        "learn_bytes": scratch["learn_each"] * count + scratch["learn_rest"],
        **scratch,
        **_golden(network, constants, count, data_dir),
    }
    manifest = {
        "made_by": f"scff-hw {values['version']}",
        "run": run.name,
        "recipe": recipe.name,
        "seed": network.seed,
        "target": target,
        "rounding": form.rounding,
        "update_rounding": "stochastic" if form.stochastic else "nearest",
        "layers": [
            {"layer": index + 1, "formats": layer.spec.formats.to_json(), "max_rows": c.max_rows}
            for index, (layer, c) in enumerate(zip(layers, constants, strict=True))
        ],
        "readout": {"weight_frac": network.readout_frac, "classes": network.classes, "features": values["features"]},
        "memory": memory,
        "learn_scratch_bytes": {"per_sample": scratch["learn_each"], "beside": scratch["learn_rest"]},
        "golden": {"answers": values["golden_samples"], "updates": values["golden_updates"], "batch": count},
    }
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
    scratch: dict[str, int],
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
        "c": c,
        "title": f"{title}, pairs {'made' if c.makes_pairs else 'passed'}",
        "weights": c.units * c.fan_in,
        "weight_format": f"{form.weight.bits} bits, frac {_fracs(form.weight.fracs)}",
        "shadow_format": "" if form.shadow is None else f"{form.shadow.bits} bits, frac {_fracs(form.shadow.fracs)}",
        "bias_format": f"32 bits, frac {_fracs(form.bias.fracs)}",
        "weight_text": numbers(layer.weight.ravel()),
        "shadow_text": numbers(layer.held.ravel()),
        "bias_text": numbers(layer.bias),
        "states_text": numbers(layer.states, "u"),
        "frac_text": numbers(c.weight_frac),
        "initialisers": [(name, _initialiser(index, name, value)) for name, value in c.initialisers()],
        "rate_shift": rate,
        "reads": reads,
        "learn_each": each,
        "learn_rest": rest,
        "passes_both": index + 1 < len(constants) and not constants[index + 1].makes_pairs,
        "before_last": index + 2 == len(constants),
    }


def _initialiser(index: int, name: str, value: Any) -> str:
    if isinstance(value, PoolConstants):
        kind = ("SCFF_NO_POOL", "SCFF_MAX_POOL", "SCFF_AVERAGE_POOL")[value.kind]
        rest = (value.size, value.stride, value.padding, value.out_height, value.out_width)
        return f"{{{kind}, {', '.join(f'{number}u' for number in rest)}}}"
    if name == "weight_frac":
        return f"l{index + 1}_weight_frac"
    if name == "rounding":
        return ("SCFF_HALF_EVEN", "SCFF_HALF_UP")[value]
    return f"{value}u" if name in UNSIGNED else str(value)


UNSIGNED = {
    *("channels", "height", "width", "units", "kernel", "padding", "out_height", "out_width", "weight_fracs"),
    *("stochastic", "makes_pairs", "triangle", "learned_positions", "max_rows", "fingerprint"),
    *("weight_bits", "shadow_bits", "standardised_bits", "output_bits", "transmitted_bits", "error_bits"),
    "feature_bits",
}


def _memory(
    described: Sequence[dict[str, Any]],
    constants: Sequence[LayerConstants],
    scratch: dict[str, int],
    network: IntegerRun,
) -> list[dict[str, Any]]:
    """Bytes of every buffer; code is not in it."""
    rows: list[dict[str, Any]] = []
    for layer, c in zip(described, constants, strict=True):
        for where, what in (("flash", "as exported"), ("RAM", "learning")):
            for name, size in c.state_bytes.items():
                if size:
                    rows.append({"buffer": f"layer {layer['number']}, {name}, {what}", "where": where, "bytes": size})
    rows.append({"buffer": "readout", "where": "flash", "bytes": network.readout_weight.size + 4 * network.classes})
    rows.append({"buffer": "logistic table", "where": "flash", "bytes": 1024})
    rows.append({"buffer": "scratch to classify", "where": "RAM", "bytes": scratch["classify_scratch"]})
    for count in sorted({2, GOLDEN_BATCH, network.recipe.training.batch_size}):
        size = scratch["learn_each"] * count + scratch["learn_rest"]
        rows.append({"buffer": f"scratch to learn from {count} samples", "where": "RAM", "bytes": size})
    return rows


def _golden(
    network: IntegerRun, constants: Sequence[LayerConstants], count: int, data_dir: Path | None
) -> dict[str, Any]:
    """Golden vectors of the integer reference: answers, and what layers hold after each of a few updates."""
    samples = network.samples("test", GOLDEN_SAMPLES, data_dir)
    answers = network.logits(samples)
    stream = network.samples(network.recipe.data.learn_split, count + GOLDEN_UPDATES, data_dir)
    layers = deepcopy(network.layers)
    crcs = []
    for update in range(GOLDEN_UPDATES):
        partner = (np.arange(count) + 1 + update % (count - 1)) % count
        learn(network, layers, stream[update : update + count], partner)
        # without their own CRC, with which the CRC of anything would be the same
        crcs.append([zlib.crc32(saved_bytes(layer, c)[:-4]) for layer, c in zip(layers, constants, strict=True)])
    return {
        "golden_samples": len(samples),
        "golden_count": count,
        "golden_updates": GOLDEN_UPDATES,
        "samples_text": rows(samples.reshape(len(samples), -1)),
        "logits_text": rows(answers),
        "classes_text": ", ".join(map(str, answers.argmax(axis=1))),
        "stream_text": rows(stream.reshape(len(stream), -1)),
        "crcs_text": rows(crcs, "u"),
    }


def learn(
    network: IntegerRun, layers: Sequence[IntegerLayer], x: NDArray[np.int64], partner: NDArray[np.int64]
) -> None:
    """One batch through all layers, each of which changes once: what `scff_<model>_learn` does."""
    views = [x]
    for index, (layer, rate) in enumerate(zip(layers, network.rate_shifts, strict=True)):
        views = [network.shaped(index, view) for view in views]
        views = list(layer.learn(views, partner if layer.spec.makes_pairs else None, rate))
        if index + 1 < len(layers) and layers[index + 1].spec.makes_pairs:
            views = views[:1]


def numbers(values: Iterable[Any], suffix: str = "") -> str:
    """Numbers as C, in lines."""
    lines, line = [], "   "
    for value in values:
        text = f" {int(value)}{suffix},"
        if len(line) + len(text) > LINE:
            lines.append(line)
            line = "   "
        line += text
    return "\n".join([*lines, line])


def rows(values: Iterable[Iterable[Any]], suffix: str = "") -> str:
    """Rows of numbers as C, each in braces."""
    return "\n".join(f"    {{\n{numbers(row, suffix)}\n    }}," for row in values)


def _fracs(fracs: Sequence[int]) -> str:
    return str(fracs[0]) if len(fracs) == 1 else f"{min(fracs)} to {max(fracs)}, one a unit"


def _input_note(network: IntegerRun) -> str:
    data = network.recipe.data
    if len(data.input_shape) == 1:
        return ""
    if data.mean == (0.0,) and data.std == (1.0,):
        return "; a pixel's value is its byte over 255"
    return f"; a pixel's value is (its byte over 255 - {list(data.mean)}) / {list(data.std)}"
