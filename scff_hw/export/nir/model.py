"""Export of a finished run as one NIR file, which is read back and compared with the library."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scff_hw.core.functional import Pool, reflect_pad, scaled_to
from scff_hw.documents import SCHEMA, NirManifest
from scff_hw.errors import ExportError, UsageError
from scff_hw.export.exporter import Exporter
from scff_hw.export.nir.dependencies import nir
from scff_hw.export.nir.graph import FEATURES, LOGITS, X, nir_parts
from scff_hw.export.onnx.run import float_answers
from scff_hw.files import AnyPath
from scff_hw.training.finished import FinishedRun
from scff_hw.training.progress import Progress

SAMPLES = 300
"""Default number of test samples that the file is checked on."""

BATCH = 100
TOLERANCE = 1e-5
"""Largest difference of features and of logits from the library's, relative to the largest of them."""

MEANING = (
    "The nodes are a network's linear parts. They are not connected: between them a sample is standardised and "
    "rectified, for which NIR has no nodes. 'steps' lists all operations, in order, as JSON; the value 'x' is the "
    "sample: (value - mean) / std, as 'input' says. A simulator that runs the nodes alone does not run the network."
)


@dataclass(frozen=True)
class NirOptions:
    """Attributes:
    samples: number of test samples that the file is checked on, at most all of them.
    """

    samples: int = SAMPLES

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise UsageError(f"The samples to check on must be at least 1. Got {self.samples} instead.")


class NirExporter(Exporter[NirOptions, NirManifest]):
    """Exports a run's linear parts as one NIR file in float32, with the steps between them as metadata."""

    name = "nir"
    Options = NirOptions
    writes_file = True

    def check(self, run: FinishedRun, options: NirOptions) -> None:
        if run.recipe.data.has_sequences:
            raise UsageError(
                f"The layers to export as NIR must be feed-forward. Got the recurrent layer of {run.path} instead."
            )

    def write(self, run: FinishedRun, options: NirOptions, out: Path, progress: Progress) -> NirManifest:
        parts = nir_parts(run.network, run.read_layers, *run.readout, run.recipe.data.input_shape)
        graph = nir.NIRGraph(nodes=parts.nodes, edges=parts.edges, metadata=_metadata(run, parts.steps))
        nir.write(out, graph)
        return NirManifest(
            schema=SCHEMA,
            nir=nir.version,
            nodes={key: type(node).__name__ for key, node in parts.nodes.items()},
            steps=tuple(parts.steps),
            **_check(out, run, min(options.samples, len(run.samples("test")))),
        )


def export_nir(
    run: AnyPath, out: AnyPath, *, samples: int = SAMPLES, data_dir: AnyPath | None = None
) -> dict[str, Any]:
    """Write a finished run as a NIR file; after an error, or a failed check, `out` does not exist.

    Args:
        out: a file that does not exist.
        samples: number of test samples that the file is checked on, at most all of them.

    Returns:
        The nodes by name, the steps, and the file's differences from the library, as `--json` prints them.

    Raises:
        UsageError: `out` exists, `samples` is not positive, or a layer is recurrent.
        CheckpointError: not a finished run.
        DataError: the run's data set, on which the file is checked, is missing.
        ExportError: the file, read back, does not give the library's results.
    """
    manifest = NirExporter().export_folder(run, out, NirOptions(samples), data_dir=data_dir)
    return {"file": str(Path(out))} | manifest.as_json()


def answers(graph: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """Features and logits of samples `[N, ...]` in float32, from the steps and nodes of a graph of `nir.read`."""
    values = {X: x}
    following = dict(graph.edges)
    for step in json.loads(graph.metadata["steps"]):
        start = step["from"]
        if isinstance(start, list):
            values[step["to"]] = torch.cat([values[name] for name in start], dim=1)
            continue
        value = values[start]
        if step["op"] == "node":
            name = following[step["input"]]
            assert following[name] == step["output"], f"node {name} does not end in {step['output']}"
            values[step["to"]] = _node(graph.nodes[name], value)
        else:
            values[step["to"]] = _step(step, value)
    return values[FEATURES], values[LOGITS]


def _step(step: Mapping[str, Any], x: Tensor) -> Tensor:
    op = step["op"]
    if op == "flatten":
        return x.flatten(1)
    if op == "relu":
        return torch.relu(x)
    if op == "pad_reflect":
        return reflect_pad(x, step["amount"])
    if op == "standardise":
        return scaled_to(x, step["divisor"], step["flat"])
    kind = op.removesuffix("_pool")
    return Pool(kind, step["size"], step["stride"], step["padding"], step["ceil"])(x)


def _node(node: Any, x: Tensor) -> Tensor:
    match node:
        case nir.Affine():
            return F.linear(x, torch.as_tensor(node.weight), torch.as_tensor(node.bias))
        case nir.Conv2d():
            return F.conv2d(x, torch.as_tensor(node.weight), torch.as_tensor(node.bias))
        case _:
            return F.avg_pool2d(x, tuple(map(int, node.kernel_size)), tuple(map(int, node.stride)))


def _check(path: Path, run: FinishedRun, count: int) -> dict[str, Any]:
    graph, test, name = nir.read(path), run.samples("test"), path.name
    largest, scale, gap, correct = [0.0, 0.0], [0.0, 0.0], [0.0, 0.0], 0
    for start in range(0, count, BATCH):
        index = torch.arange(start, min(start + BATCH, count))
        x = test.batch(index).positive.float()
        results, expected = answers(graph, x), float_answers(run, x)
        for k, (a, b) in enumerate(zip(results, expected, strict=True)):
            if a.shape != b.shape or not bool(torch.isfinite(a).all()):
                raise ExportError(f"The file {name} must give finite numbers {tuple(b.shape)}. Got {tuple(a.shape)}.")
            gap[k] = max(gap[k], float((a - b).abs().max()))
            scale[k] = max(scale[k], float(b.abs().max()))
        correct += int((results[1].argmax(dim=1) == test.labels[index]).sum())
    largest = [difference / (size or 1.0) for difference, size in zip(gap, scale, strict=True)]
    if max(largest) > TOLERANCE:
        raise ExportError(
            f"The answers of {name} must be within {TOLERANCE:.0e} of the library's. Got {max(largest):.1e} instead."
        )
    return {
        "samples": count,
        "accuracy": correct / count,
        "largest_feature_difference": largest[0],
        "largest_logit_difference": largest[1],
    }


def _metadata(run: FinishedRun, steps: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    data = run.recipe.data
    return {
        "meaning": MEANING,
        "input": json.dumps({"shape": list(data.input_shape)} | run.scaling.model_dump(mode="json")),
        "steps": json.dumps(steps),
        "recipe": run.recipe.name,
        "description": run.recipe.description,
        "data": data.name,
        "seed": str(run.seed),
        "backend": run.backend,
        "scff_hw_version": version("scff-hw"),
        "test_accuracy": repr(run.accuracy),
        "measured_on": run.summary.measured_on,
    }
