"""Tiny finished runs, on data that need no download, for the tests of exports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from scipy.io import wavfile

from scff_hw.export.onnx.runtimes import Answers, checked_model, readers, stepwise_readers
from scff_hw.hardware import load_profile
from scff_hw.recipes import load_recipe
from scff_hw.training import train

LEARN = "{epochs: 1, optimiser: sgd, learning_rate: 0.1, theta_pos: 0.5, theta_neg: 0.5}"

DENSE = f"""
  - {{kind: dense, units: 24, init: linear, pairs: made, learn: {LEARN}}}
  - {{kind: dense, units: 12, init: linear, pairs: passed, transmit: relu, learn: {LEARN}}}
"""

CONV = f"""
  - kind: conv2d
    channels: 6
    kernel: 3
    padding: 1
    init: xavier
    pairs: made
    pool: {{kind: max, size: 3, stride: 2, padding: 1, ceil: true}}
    readout_pool: {{kind: avg, size: 2, stride: 2, padding: 0, ceil: true}}
    learn: {LEARN}
  - kind: conv2d
    channels: 5
    kernel: 3
    padding: 1
    init: xavier
    pairs: passed
    transmit: relu
    pool: {{kind: avg, size: 3, stride: 2, padding: 1, ceil: true}}
    learn: {LEARN}
  - {{kind: dense, units: 10, init: linear, pairs: made, learn: {LEARN}}}
"""

FLOOR = f"""
  - kind: conv2d
    channels: 4
    kernel: 2
    padding: 0
    init: xavier
    pairs: made
    pool: {{kind: avg, size: 2, stride: 3, padding: 1, ceil: false}}
    readout_pool: {{kind: max, size: 2, stride: 2, padding: 0, ceil: false}}
    learn: {LEARN}
"""

RECIPE = """
name: tiny
description: a tiny network
source: tests
data: {{name: digits, mean: [0.1], std: [0.9]}}
training: {{batch_size: 100, rule: {{name: {rule}, options: {{}}}}}}
layers: {layers}
readout: {{layers: {read}, epochs: 2}}
controls: {{untrained: false}}
"""


def tiny_run(
    folder: Path,
    layers: str,
    *sets: str,
    backend: str = "float",
    rule: str = "scff",
    read: list[int] | None = None,
    profile: str | None = None,
) -> Path:
    """Train a network of `layers` for a moment, and return its run folder."""
    recipe = folder.with_suffix(".yaml")
    numbers = read or list(range(1, layers.count("kind: conv2d") + layers.count("kind: dense") + 1))
    recipe.write_text(RECIPE.format(rule=rule, layers=layers, read=numbers))
    hardware: dict[str, Any] = {} if profile is None else {"profile": load_profile(profile)}
    train(load_recipe(str(recipe), list(sets)), folder, backend=backend, **hardware)
    return folder


SPOKEN = """
name: tiny-spoken
description: a tiny recurrent network
source: tests
data: {{name: fsdd, mean: [0.5], std: [2.0], mfcc: {{coefficients: 8, mels: 16}}}}
training: {{batch_size: 20}}
layers:
  - kind: recurrent
    units: 12
    directions: {directions}
    output: {output}
    learn: {learn}
{more}
readout: {{layers: {read}, epochs: 2}}
controls: {{untrained: false}}
"""

BEHIND = f"  - {{kind: dense, units: 9, init: linear, pairs: made, learn: {LEARN}}}"


def recordings(folder: Path) -> Path:
    """Make a small FSDD of two speakers, two of whose takes are its test part; the directory of the data."""
    draw = np.random.default_rng(0)
    where = folder / "free-spoken-digit-dataset" / "recordings"
    where.mkdir(parents=True)
    for digit in range(10):
        for speaker in ("george", "theo"):
            for take in (0, 1, 5, 6, 7):
                time = np.arange(draw.integers(200, 2400)) / 8000
                sound = np.sin(2 * np.pi * 200 * (digit + 1) * time * (1 + time)) + 0.2 * draw.normal(size=len(time))
                wavfile.write(where / f"{digit}_{speaker}_{take}.wav", 8000, (8000 * sound).astype(np.int16))
    return folder


def spoken_run(
    folder: Path,
    data: Path,
    *sets: str,
    directions: int = 2,
    output: str = "final",
    more: str = "",
    read: str = "[1]",
    backend: str = "float",
    profile: str | None = None,
) -> Path:
    """Train a recurrent network for a moment on `recordings`, and return its run folder."""
    recipe = folder.with_suffix(".yaml")
    recipe.write_text(SPOKEN.format(directions=directions, output=output, more=more, read=read, learn=LEARN))
    hardware: dict[str, Any] = {} if profile is None else {"profile": load_profile(profile)}
    train(load_recipe(str(recipe), list(sets)), folder, backend=backend, data_dir=data, **hardware)
    return folder


def sequence_answers(path: Path, x: NDArray[Any], lengths: NDArray[Any]) -> dict[str, Answers]:
    """Features and logits of all readers of a file of sequences, or of one step, by name."""
    model = checked_model(path)
    make = stepwise_readers if "step" in path.name else readers
    return {name: read(x, lengths) for name, read in make(path, model).items()}


def noise(lengths: list[int], seed: int = 0, scale: float = 1.0) -> tuple[NDArray[Any], NDArray[Any]]:
    """Sequences `[N, T, 7]` of these lengths, and these."""
    draw = np.random.default_rng(seed)
    x = scale * draw.normal(size=(len(lengths), max(lengths), 7))
    return x.astype(np.float32), np.array(lengths, dtype=np.int64)


def every_initialiser(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """By name, those of the bodies of its nodes too."""
    found = {each.name: each for each in graph.initializer}
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                found |= every_initialiser(attribute.g)
    return found


def computed_kinds(model: onnx.ModelProto) -> dict[str, set[int]]:
    """By operator, the element types of what its nodes compute, in the bodies of nodes too."""
    found: dict[str, set[int]] = {}

    def visit(graph: onnx.GraphProto) -> None:
        kinds = {each.name: each.type.tensor_type.elem_type for each in (*graph.value_info, *graph.output)}
        for node in graph.node:
            found.setdefault(node.op_type, set()).update(kinds[name] for name in node.output)
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    visit(attribute.g)

    visit(onnx.shape_inference.infer_shapes(model, strict_mode=True).graph)
    return found
