"""Recurrent networks in integers as ONNX: equal to the fixed backend and to the reference, number for number."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from scff_hw.backends.fixed.reference.layer import quantise
from scff_hw.backends.fixed.reference.recurrent import StreamingRecurrent
from scff_hw.backends.fixed.tensor.recurrent import FixedRecurrentLayer
from scff_hw.core import Stream
from scff_hw.errors import ExportError
from scff_hw.export.fixed_recurrent_run import integer_recurrent
from scff_hw.export.onnx import model as onnx_export
from scff_hw.export.onnx.check import arrays
from scff_hw.export.onnx.model import export_onnx, plan
from scff_hw.export.onnx.runtimes import EVALUATOR, OPTIMISED, PLAIN, stepwise_readers
from scff_hw.training.finished import FinishedRun

from .onnx_runs import BEHIND, computed_kinds, every_initialiser, noise, recordings, sequence_answers, spoken_run

NETWORKS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "one": ([], {"directions": 1}),
    "one-means": (["fixed_point.weight_scales=channel"], {"directions": 1, "output": "final-and-mean"}),
    "one-behind": (
        ["fixed_point.rounding=half_up"],
        {"directions": 1, "output": "final-and-mean", "more": BEHIND, "read": "[1, 2]"},
    ),
    "both": (["fixed_point.weight_bits=4", "fixed_point.activation_bits=6"], {"directions": 2}),
    "both-means": (["fixed_point.rounding=half_up"], {"directions": 2, "output": "final-and-mean"}),
    "both-behind": ([], {"directions": 2, "more": BEHIND, "read": "[2]"}),
}
Exported = dict[str, tuple[FinishedRun, Path, dict[str, Any]]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recordings(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, data: Path) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return {
        name: spoken_run(folder / name, data, *sets, backend="fixed", **parts)
        for name, (sets, parts) in NETWORKS.items()
    }


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, runs: dict[str, Path], data: Path) -> Exported:
    folder = tmp_path_factory.mktemp("onnx")
    return {
        name: (FinishedRun.open(run, data), folder / name, export_onnx(run, folder / name, samples=30, data_dir=data))
        for name, run in runs.items()
    }


def library(run: FinishedRun, x: NDArray[Any], lengths: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Features and logits of the fixed backend, as integers."""
    assert run.fixed is not None
    features = next(iter(run.fixed.backend.formats.values())).feature.frac_bits
    with torch.no_grad():
        stream = Stream(torch.from_numpy(x), lengths=torch.from_numpy(lengths))
        found = run.fixed.network.features(stream, run.read_layers)
    weight, bias = run.readout
    logits = found.double() @ weight.double().T + bias.double()
    return (found * 2.0**features).numpy(), (logits * 2.0 ** (features + run.fixed.readout_frac)).numpy()


def integer_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("integer*.onnx"))


@pytest.mark.parametrize("name", NETWORKS)
def test_files_equal_the_fixed_backend(name: str, exported: Exported) -> None:
    run, folder, summary = exported[name]
    steps = set() if name.startswith("both") else {"step.onnx", "integer-step.onnx"}
    assert {path.name for path in folder.glob("*.onnx")} == {"float.onnx", "integer.onnx"} | steps
    assert set(summary["left_out"]) == {"qdq.onnx", "qoperator.onnx", "qonnx.onnx"} | (
        set() if steps else {"step.onnx", "integer-step.onnx"}
    )
    x, lengths = arrays(run.samples("test").batch(torch.arange(40)))
    expected = library(run, x, lengths)
    assert np.abs(expected[0]).max() > 20 and len(np.unique(expected[1])) > 50
    for path in integer_files(folder):
        found = sequence_answers(path, x, lengths)
        assert set(found) == {EVALUATOR, OPTIMISED, PLAIN}
        for features, logits in found.values():
            assert features.dtype == np.int8 and logits.dtype == np.int32
            np.testing.assert_array_equal(features, expected[0])
            np.testing.assert_array_equal(logits, expected[1])


@settings(max_examples=15)
@given(
    name=st.sampled_from(sorted(NETWORKS)),
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5),
    seed=st.integers(0, 100),
    scale=st.sampled_from([0.0, 0.01, 1.0, 100.0]),
)
def test_sequences_of_any_lengths_and_loudness(
    name: str, lengths: list[int], seed: int, scale: float, exported: Exported
) -> None:
    """Silence, and frames beyond the input's format, among them."""
    run, folder, _ = exported[name]
    x, counted = noise(lengths, seed, scale)
    expected = library(run, x, counted)
    for path in integer_files(folder):
        for found in sequence_answers(path, x, counted).values():
            for mine, wanted in zip(found, expected, strict=True):
                np.testing.assert_array_equal(mine, wanted)


@pytest.mark.parametrize("garbage", [np.nan, np.inf, -1e30])
@pytest.mark.parametrize("name", ["one-means", "both"])
def test_what_lies_behind_the_end_changes_no_answer(name: str, garbage: float, exported: Exported) -> None:
    _, folder, _ = exported[name]
    x, lengths = noise([3, 1, 5, 2])
    dirty = x.copy()
    for sequence, length in zip(dirty, lengths, strict=True):
        sequence[length:] = garbage
    clean, found = (sequence_answers(folder / "integer.onnx", each, lengths) for each in (x, dirty))
    for reader in clean:
        for mine, wanted in zip(found[reader], clean[reader], strict=True):
            np.testing.assert_array_equal(mine, wanted)


@pytest.mark.parametrize("name", ["one", "one-means"])
def test_a_step_hands_on_what_the_streaming_reference_holds(name: str, exported: Exported) -> None:
    run, folder, _ = exported[name]
    assert run.fixed is not None
    (fixed,) = run.fixed.network.layers
    assert isinstance(fixed, FixedRecurrentLayer)
    layer = integer_recurrent(fixed)
    x, _ = noise([6])
    frames = quantise(x[0].astype(np.float64), layer.directions[0].inputs.spec.formats.input)
    model = onnx.load(str(folder / "integer-step.onnx"))
    kind = onnx.helper.tensor_dtype_to_np_dtype
    kinds = {each.name: kind(each.type.tensor_type.elem_type) for each in model.graph.input}
    means = {"sum": np.int32, "count": np.int64} if layer.averages else {}
    assert kinds == {"x": np.float32, "state": np.int8, **means}
    for reader in stepwise_readers(folder / "integer-step.onnx", model).values():
        streaming = StreamingRecurrent(layer)
        for steps, frame in enumerate(frames, start=1):
            streaming.step(frame)
            features, _ = reader(x[:, :steps], np.array([steps], dtype=np.int64))
            np.testing.assert_array_equal(features[0], layer.features(streaming.transmitted()))


def test_integers_need_no_more_than_float32(exported: Exported) -> None:
    """But for numbers of frames, which are int64 where they are counted."""
    for _, folder, _ in exported.values():
        for path in integer_files(folder):
            kinds = computed_kinds(onnx.load(str(path)))
            assert TensorProto.DOUBLE not in set().union(*kinds.values())
            for operator in ("Mul", "Sub", "Div", "MatMul", "Gemm"):
                assert kinds[operator] == {TensorProto.FLOAT}
            assert "Round" not in kinds


def test_the_model_card_says_what_integers_stand_for(exported: Exported) -> None:
    _, folder, _ = exported["one-means"]
    text = (folder / "README.md").read_text()
    found = re.search(r"in units of 2\^-(\d+) for features and 2\^-(\d+) for logits", text)
    assert found and "its `state` is int8 and its `sum` int32" in text
    x, lengths = noise([4, 2])
    floats = sequence_answers(folder / "float.onnx", x, lengths)[PLAIN]
    integers = sequence_answers(folder / "integer.onnx", x, lengths)[PLAIN]
    for of_float, of_integer, frac in zip(floats, integers, found.groups(), strict=True):
        np.testing.assert_allclose(of_integer * 2.0 ** -int(frac), of_float, atol=0.25 * np.abs(of_float).max())


@pytest.mark.parametrize("name", ["integer.onnx", "integer-step.onnx"])
@pytest.mark.parametrize("part", ["inputs", "hidden"])
def test_one_changed_weight_fails_the_export(
    name: str, part: str, runs: dict[str, Path], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def perturbed(run: FinishedRun) -> Any:
        planned, left_out = plan(run)
        held = every_initialiser(planned[name].model.graph)[f"layers.1.forwards.{part}.weight"]
        values = numpy_helper.to_array(held).copy()
        values[0, 0] = -values[0, 0] - 40
        held.CopyFrom(numpy_helper.from_array(values, held.name))
        return planned, left_out

    monkeypatch.setattr(onnx_export, "plan", perturbed)
    with pytest.raises(ExportError, match=rf"{name} than the library: .* differ from the integer reference"):
        export_onnx(runs["one"], tmp_path / "out", samples=40, data_dir=data)
    assert list(tmp_path.iterdir()) == []
