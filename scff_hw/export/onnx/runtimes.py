"""Four independent readers of an ONNX file: the checker, shape inference, ONNX's reference evaluator, onnxruntime."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scff_hw.errors import ExportError
from scff_hw.export.onnx.dependencies import OpRun, ReferenceEvaluator, onnx, onnxruntime
from scff_hw.export.onnx.graph import BATCH, FEATURES, INPUT, LOGITS
from scff_hw.export.onnx.recurrent import CARRIED

Answers = tuple[NDArray[Any], NDArray[Any]]
Reader = Callable[..., Answers]
"""From samples `[N, ...]`, or sequences `[N, T, F]` and their lengths, to features and logits."""

Run = Callable[[Sequence[str], dict[str, NDArray[Any]]], list[Any]]
"""From names of outputs, and inputs by name, to these outputs."""

EVALUATOR_POOLED, EVALUATOR_LEAST = 60_000, 10
"""Largest number of pooled values that the evaluator computes, at some 10 to 50 microseconds each; and the smallest
number of samples that it computes in any case."""

EVALUATOR, OPTIMISED, PLAIN = "ONNX reference evaluator", "onnxruntime", "onnxruntime, optimisations off"


class TooFarError(ExportError):
    """A quantised file whose results differ too much from the run's."""


class Quant(OpRun):
    """QONNX's operator, as far as this package writes it: signed, narrow, halves to even, zero point 0."""

    op_domain = "qonnx.custom_op.general"

    def _run(self, x, scale, zero, bits, narrow=None, rounding_mode=None, signed=None):  # type: ignore[no-untyped-def]
        top = 2 ** (int(bits) - 1) - 1
        return ((np.clip(np.rint(x / scale), -top, top) * scale).astype(np.float32),)


class DequantizeLinear(OpRun):
    """With zero point 0. The evaluator has this operator only from opset 19 on; earlier opsets compute the same."""

    op_domain = ""

    def _run(self, x, scale, zero=None, axis=None, block_size=None, output_dtype=None):  # type: ignore[no-untyped-def]
        assert zero is None or not np.any(zero), "scff-hw writes zero points of 0 only"
        unit = scale
        if np.ndim(scale):
            unit = scale.reshape([-1 if dim == axis else 1 for dim in range(x.ndim)])
        return ((x.astype(np.float32) * unit).astype(np.float32),)


def checked_model(path: Path) -> onnx.ModelProto:
    """Return the model in a file, after ONNX's checker and strict shape inference have accepted it.

    Raises:
        ExportError: one of them refuses the file; names the file and the reason.
    """
    model = onnx.load(str(path))
    try:
        onnx.checker.check_model(model, full_check=True)
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"The file {path.name} is not valid ONNX ({' '.join(str(error).split())}).") from None
    shapes = {value.name: _dims(value) for value in (*inferred.graph.value_info, *inferred.graph.output)}
    for node in model.graph.node:
        for name in node.output:
            if name not in shapes:
                raise ExportError(f"Shape inference found no shape for {name}, of {node.op_type} in {path.name}.")
    for name in (FEATURES, LOGITS):
        if shapes[name][0] != BATCH:
            raise ExportError(f"The batch of {name} in {path.name} must be open. Got {shapes[name]} instead.")
    return model


def evaluator_samples(model: onnx.ModelProto) -> int:
    """Return the number of samples of a model that ONNX's reference evaluator computes in seconds."""
    inferred = onnx.shape_inference.infer_shapes(model)
    shapes = {value.name: _dims(value) for value in inferred.graph.value_info}
    pooled = 0
    for node in model.graph.node:
        if node.op_type in ("MaxPool", "AveragePool"):
            pooled += math.prod(side for side in shapes[node.output[0]] if isinstance(side, int))
    return max(EVALUATOR_LEAST, EVALUATOR_POOLED // max(pooled, 1))


def readers(path: Path, model: onnx.ModelProto) -> dict[str, Reader]:
    """Return the readers that can compute the file, by name; only the evaluator has operators of other domains.

    Each reader takes the inputs of the graph, in its order.
    """
    names = [value.name for value in model.graph.input]
    return {name: _reader(run, names) for name, run in _runs(path, model).items()}


def stepwise_readers(path: Path, model: onnx.ModelProto) -> dict[str, Reader]:
    """Return the readers of whole sequences for a file of one step, which is run once per frame."""
    carried = {value.name: value for value in model.graph.input if value.name in CARRIED}
    return {name: _stepwise(run, carried) for name, run in _runs(path, model).items()}


def _runs(path: Path, model: onnx.ModelProto) -> dict[str, Run]:
    evaluator = ReferenceEvaluator(model, new_ops=[Quant, DequantizeLinear])
    runs: dict[str, Run] = {EVALUATOR: lambda outputs, inputs: list(evaluator.run(list(outputs), inputs))}
    if all(not opset.domain for opset in model.opset_import):
        for name, level in (
            (OPTIMISED, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL),
            (PLAIN, onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL),
        ):
            runs[name] = _session(path, level)
    return runs


def _session(path: Path, level: Any) -> Run:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda outputs, inputs: list(session.run(list(outputs), inputs))


def _reader(run: Run, names: Sequence[str]) -> Reader:
    def read(*inputs: NDArray[Any]) -> Answers:
        features, logits = run([FEATURES, LOGITS], dict(zip(names, inputs, strict=True)))
        return np.asarray(features), np.asarray(logits)

    return read


def _stepwise(run: Run, carried: dict[str, onnx.ValueInfoProto]) -> Reader:
    def read(x: NDArray[np.float32], lengths: NDArray[np.int64]) -> Answers:
        state = {name: _zeros(value, len(x)) for name, value in carried.items()}
        answers: list[NDArray[Any]] = []
        for step in range(int(lengths.max())):
            active = lengths > step
            inputs = {INPUT: x[active, step]} | {name: value[active] for name, value in state.items()}
            outputs = run([FEATURES, LOGITS, *(CARRIED[name] for name in carried)], inputs)
            answers = answers or [np.zeros((len(x), *value.shape[1:]), value.dtype) for value in outputs[:2]]
            for value, new in zip([*answers, *state.values()], outputs, strict=True):
                value[active] = new
        return answers[0], answers[1]

    return read


def _zeros(value: onnx.ValueInfoProto, rows: int) -> NDArray[Any]:
    kind = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    return np.zeros((rows, *(int(size) for size in _dims(value)[1:])), kind)


def _dims(value: onnx.ValueInfoProto) -> list[int | str]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
