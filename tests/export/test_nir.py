"""NIR files, read by `nir.read` and computed in float64 by an interpreter of their own, against the library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from scff_hw.errors import ExportError, UsageError
from scff_hw.export.nir import model as nir_export
from scff_hw.export.nir.dependencies import nir
from scff_hw.export.nir.model import export_nir
from scff_hw.export.onnx.run import float_answers
from scff_hw.training.finished import FinishedRun

from .onnx_runs import CONV, DENSE, FLOOR, tiny_run

Floats = NDArray[np.float64]

WHOLE = """
  - kind: conv2d
    channels: 6
    kernel: 3
    padding: 1
    init: xavier
    pairs: made
    pool: {kind: avg, size: 2, stride: 2}
    learn: {epochs: 1, optimiser: sgd, learning_rate: 0.1, theta_pos: 0.5, theta_neg: 0.5}
"""


def windows(x: Floats, size: int, stride: int, padding: int, ceil: bool, fill: float) -> tuple[Floats, Floats]:
    """The windows of each map `[N, C, H', W', size, size]`, and how many values an average divides by `[H', W']`."""
    sides = x.shape[2:]
    counts = []
    for length in sides:
        reach = length + 2 * padding - size
        n = (-(-reach // stride) if ceil else reach // stride) + 1
        n -= int(ceil and (n - 1) * stride >= length + padding)
        counts.append([min(i * stride + size, length + 2 * padding) - i * stride for i in range(n)])
    beyond = [len(c) * stride + size for c in counts]
    wide = np.full((*x.shape[:2], *(max(b, s + 2 * padding) for b, s in zip(beyond, sides, strict=True))), fill)
    wide[:, :, padding : padding + sides[0], padding : padding + sides[1]] = x
    seen = sliding_window_view(wide, (size, size), axis=(2, 3))[:, :, ::stride, ::stride]
    return seen[:, :, : len(counts[0]), : len(counts[1])], np.outer(*map(np.array, counts)).astype(float)


def node(made: Any, x: Floats) -> Floats:
    if isinstance(made, nir.Affine):
        return x @ made.weight.astype(float).T + made.bias
    if isinstance(made, nir.Conv2d):
        for found, wanted in ((made.padding, 0), (made.stride, 1), (made.dilation, 1), (made.groups, 1)):
            assert np.all(np.asarray(found) == wanted)
        kernel = made.weight.shape[-1]
        fields = sliding_window_view(x, (kernel, kernel), axis=(2, 3))
        return np.einsum("ncijkl,uckl->nuij", fields, made.weight.astype(float)) + made.bias[:, None, None]
    assert isinstance(made, nir.AvgPool2d) and not np.any(made.padding)
    return windows(x, int(made.kernel_size[0]), int(made.stride[0]), 0, False, 0.0)[0].mean(axis=(-2, -1))


def interpret(graph: Any, x: Floats) -> dict[str, Floats]:
    """All values of a file, from what `export/README.md` says of its steps."""
    values = {"x": x}
    for step in json.loads(graph.metadata["steps"]):
        read = [values[name] for name in ([step["from"]] if isinstance(step["from"], str) else step["from"])]
        (v, op) = (read[0], step["op"])
        axes = tuple(range(1, v.ndim))
        if op == "flatten":
            found = v.reshape(len(v), -1)
        elif op == "relu":
            found = np.maximum(v, 0)
        elif op == "concatenate":
            found = np.concatenate(read, axis=1)
        elif op == "pad_reflect":
            found = np.pad(v, ((0, 0), (0, 0), *((step["amount"],) * 2,) * 2), mode="reflect")
        elif op == "standardise":
            centred = v - v.mean(axis=axes, keepdims=True)
            std = np.sqrt((centred**2).sum(axis=axes, keepdims=True) / step["divisor"])
            spans, largest = np.ptp(v, axis=axes, keepdims=True), np.abs(v).max(axis=axes, keepdims=True)
            found = np.where(spans <= step["flat"] * largest, 0, centred / np.where(std > 0, std, 1))
        elif op in ("max_pool", "avg_pool"):
            shape = step["size"], step["stride"], step["padding"], step["ceil"]
            seen, counts = windows(v, *shape, fill=0.0 if op == "avg_pool" else -np.inf)
            found = seen.sum(axis=(-2, -1)) / counts if op == "avg_pool" else seen.max(axis=(-2, -1))
        else:
            assert op == "node", op
            ((_, name),) = [edge for edge in graph.edges if edge[0] == step["input"]]
            assert (name, step["output"]) in graph.edges
            found = node(graph.nodes[name], v)
            for end, value in ((step["input"], v), (step["output"], found)):
                kind = "input_type" if end == step["input"] else "output_type"
                (shape,) = getattr(graph.nodes[end], kind).values()
                assert tuple(shape) == value.shape[1:]
        values[step["to"]] = found
    return values


CASES = {
    "dense": (DENSE, {}),
    "convolutions with every pool": (CONV, {}),
    "windows cut off": (FLOOR, {}),
    "whole averages": (WHOLE, {}),
    "labels beside the sample": (DENSE, {"rule": "forward-forward-supervised"}),
    "integers": (DENSE, {"backend": "fixed"}),
}


@pytest.mark.parametrize("case", CASES)
def test_an_independent_reader_gets_the_library_s_answers(case: str, tmp_path: Path) -> None:
    layers, settings = CASES[case]
    path = tiny_run(tmp_path / "run", layers, **settings)
    found = export_nir(path, tmp_path / "net.nir", samples=50)
    assert found["samples"] == 50 and found["largest_logit_difference"] < 1e-5
    graph = nir.read(tmp_path / "net.nir")
    run = FinishedRun.open(path)
    x = run.samples("test").batch(torch.arange(50)).positive.float()
    values = interpret(graph, x.double().numpy())
    for name, expected in zip(("features", "logits"), float_answers(run, x), strict=True):
        wanted = expected.double().numpy()
        assert values[name].shape == wanted.shape
        assert np.abs(values[name] - wanted).max() <= 1e-5 * np.abs(wanted).max(), name
    kinds = {type(each).__name__ for each in graph.nodes.values()} - {"Input", "Output"}
    assert kinds == {"Affine"} | ({"Conv2d"} if "conv2d" in layers else set()) | (
        {"AvgPool2d"} if case == "whole averages" else set()
    )


def test_no_node_reaches_the_next_one(tmp_path: Path) -> None:
    """A simulator that only follows edges cannot take the file for the network."""
    export_nir(tiny_run(tmp_path / "run", DENSE), tmp_path / "net.nir", samples=5)
    graph = nir.read(tmp_path / "net.nir")
    assert len(graph.edges) == 6 and len(graph.inputs) == len(graph.outputs) == 3
    for start, end in graph.edges:
        assert start.endswith("_in") or end.endswith("_out")
    assert "does not run the network" in graph.metadata["meaning"]
    assert graph.metadata["recipe"] == "tiny" and graph.metadata["backend"] == "float"


def test_a_file_that_answers_otherwise_does_not_appear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tiny_run(tmp_path / "run", DENSE)
    write = nir.write

    def damaged(path: Any, graph: Any) -> None:
        graph.nodes["layer1"].weight[0] *= 1.01
        write(path, graph)

    monkeypatch.setattr(nir_export.nir, "write", damaged)
    before = set(tmp_path.iterdir())
    with pytest.raises(ExportError, match=r"answers of net.nir must be within 1e-05 of the library's. Got "):
        export_nir(run, tmp_path / "net.nir")
    assert set(tmp_path.iterdir()) == before


def test_what_exists_is_kept(tmp_path: Path) -> None:
    (tmp_path / "net.nir").write_text("mine")
    with pytest.raises(UsageError, match=r"must not exist yet. Got .*net.nir instead"):
        export_nir(tmp_path, tmp_path / "net.nir")
    assert (tmp_path / "net.nir").read_text() == "mine"
    with pytest.raises(UsageError, match=r"at least 1\. Got 0 instead"):
        export_nir(tmp_path, tmp_path / "other.nir", samples=0)
