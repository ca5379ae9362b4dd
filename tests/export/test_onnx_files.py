"""The ONNX files of a run: equal to the library, and refused where they are not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, numpy_helper

from scff_hw.data import load
from scff_hw.errors import ExportError
from scff_hw.export.onnx import check as onnx_check
from scff_hw.export.onnx import model as onnx_export
from scff_hw.export.onnx.expected import integer_answers, integer_readout, integer_stack
from scff_hw.export.onnx.model import export_onnx, plan
from scff_hw.export.onnx.run import float_answers
from scff_hw.export.onnx.runtimes import EVALUATOR, OPTIMISED, PLAIN
from scff_hw.training import run_context
from scff_hw.training.finished import FinishedRun

from .onnx_runs import CONV, DENSE, FLOOR, computed_kinds, tiny_run

ALL = {"float.onnx", "integer.onnx", "qdq.onnx", "qonnx.onnx", "qoperator.onnx"}
READERS = {EVALUATOR, OPTIMISED, PLAIN}
SAMPLES = 120


@pytest.fixture(scope="module")
def float_conv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_run(tmp_path_factory.mktemp("runs") / "float-conv", CONV)


@pytest.fixture(scope="module")
def fixed_dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_run(tmp_path_factory.mktemp("runs") / "fixed-dense", DENSE, backend="fixed")


@pytest.fixture(scope="module")
def fixed_conv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_run(tmp_path_factory.mktemp("runs") / "fixed-conv", CONV, backend="fixed")


def batch(run: FinishedRun, count: int = SAMPLES) -> np.ndarray:
    return run.samples("test").batch(torch.arange(count)).positive.numpy()


def answers(path: Path, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    features, logits = session.run(["features", "logits"], {"x": x})
    return np.asarray(features), np.asarray(logits)


@pytest.mark.parametrize("layers", [DENSE, CONV, FLOOR], ids=["dense", "conv", "floor"])
def test_float_graphs_give_the_librarys_logits(layers: str, tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "run", layers)
    summary = export_onnx(run, tmp_path / "out", samples=SAMPLES)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"float.onnx", "README.md", "manifest.json"}
    assert set(summary["files"]["float.onnx"]["readers"]) == READERS
    found = FinishedRun.open(run)
    x = batch(found)
    expected = float_answers(found, torch.from_numpy(x))[1].numpy()
    for rows in (x, x[:1], x[:7]):
        logits = answers(tmp_path / "out" / "float.onnx", rows)[1]
        assert np.abs(logits - expected[: len(rows)]).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("layers", "backend"),
    [(DENSE, "float"), (CONV, "float"), (DENSE, "fixed")],
    ids=["dense", "conv", "integers"],
)
def test_blank_images_are_exported_as_the_library_reads_them(
    layers: str, backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All grey levels, each a whole image, as test data: nothing is left of them but the biases."""
    digits = load("digits")
    blank = torch.arange(0, 256, 5, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, *digits.input_shape).contiguous()
    test = replace(digits.test, images=blank, labels=torch.zeros(len(blank), dtype=torch.int64))
    monkeypatch.setattr(run_context, "load_entry", lambda entry, folder: replace(digits, test=test))
    run = tiny_run(tmp_path / "run", layers, backend=backend)
    summary = export_onnx(run, tmp_path / "out", samples=len(blank))
    readers = summary["files"]["float.onnx"]["readers"]
    assert {name: found["classes_equal"] for name, found in readers.items()} == dict.fromkeys(READERS, 1)
    logits = answers(tmp_path / "out" / "float.onnx", batch(FinishedRun.open(run), len(blank)))[1]
    assert np.ptp(logits, axis=0).max() < 1e-6 * np.abs(logits).max()


def test_a_supervised_network_reads_a_neutral_label(tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "run", DENSE, rule="forward-forward-supervised")
    export_onnx(run, tmp_path / "out", samples=20)
    assert "neutral" in (tmp_path / "out" / "README.md").read_text()


def test_an_analog_run_is_exported_with_the_weights_that_were_read_back(tmp_path: Path) -> None:
    layer = "\n  - {kind: dense, units: 8, init: linear, pairs: made, learn: " + (
        "{epochs: 1, optimiser: sgd, learning_rate: 0.1, theta_pos: 0.5, theta_neg: 0.5}}\n"
    )
    run = tiny_run(tmp_path / "run", layer, backend="analog", profile="ecram")
    summary = export_onnx(run, tmp_path / "out", samples=20)
    assert set(summary["files"]) == {"float.onnx"} and summary["profile"] == "ecram"
    weight = FinishedRun.open(run).network.arrays["layers.1"].weight.numpy()
    values = initialisers(tmp_path / "out" / "float.onnx")
    np.testing.assert_array_equal(values["layers.1.weight"], weight)
    assert "noise" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(
    "sets",
    [
        (),
        ("fixed_point.rounding=half_up",),
        ("fixed_point.weight_bits=4", "fixed_point.shadow_bits=0", "fixed_point.activation_bits=6"),
        ("fixed_point.weight_scales=channel",),
    ],
    ids=["default", "half_up", "narrow", "channel"],
)
@pytest.mark.parametrize("layers", [DENSE, CONV, FLOOR], ids=["dense", "conv", "floor"])
def test_integer_graphs_equal_the_reference(layers: str, sets: tuple[str, ...], tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "run", layers, *sets, backend="fixed")
    summary = export_onnx(run, tmp_path / "out", samples=SAMPLES)
    assert set(summary["files"]) | set(summary["left_out"]) == ALL
    per_channel = "fixed_point.weight_scales=channel" in sets
    assert set(summary["left_out"]) == ({"qoperator.onnx"} if per_channel else set())
    found = FinishedRun.open(run)
    assert found.fixed is not None
    stack, readout = integer_stack(found.fixed.network.layers), integer_readout(found)
    x = batch(found)
    expected = integer_answers(stack, found.read_layers, readout, x.astype(np.float64))
    features, logits = answers(tmp_path / "out" / "integer.onnx", x)
    assert (features.dtype, logits.dtype) == (np.int8, np.int32)
    np.testing.assert_array_equal(features, expected[0])
    np.testing.assert_array_equal(logits, expected[1])
    # the backend that the run was trained and measured with agrees
    own = found.fixed.network.features(torch.from_numpy(x), found.read_layers).double()
    own = own @ found.readout[0].double().T + found.readout[1].double()
    np.testing.assert_array_equal(own.numpy() * 2.0**readout.frac, logits)


@pytest.mark.parametrize("fixture", ["fixed_dense", "fixed_conv"])
def test_integer_graphs_need_no_more_than_float32(fixture: str, request: pytest.FixtureRequest) -> None:
    """Runtimes narrow 64 bits to 32, multiply int32 in float32, and differ in Round's halves and in Less."""
    planned, _ = plan(FinishedRun.open(request.getfixturevalue(fixture)))
    kinds = computed_kinds(planned["integer.onnx"].model)
    narrow = {TensorProto.FLOAT, TensorProto.BOOL}
    assert kinds.pop("Cast") == {TensorProto.FLOAT, TensorProto.INT8, TensorProto.INT32}
    assert set().union(*kinds.values()) == narrow
    assert not {"Round", "Less"} & set(kinds)


def test_quantised_files_hold_the_runs_integers(fixed_conv: Path, tmp_path: Path) -> None:
    summary = export_onnx(fixed_conv, tmp_path / "out", samples=SAMPLES)
    found = FinishedRun.open(fixed_conv)
    assert found.fixed is not None
    stack, readout = integer_stack(found.fixed.network.layers), integer_readout(found)
    for name in ("integer.onnx", "qdq.onnx", "qoperator.onnx"):
        values = initialisers(tmp_path / "out" / name)
        for number, layer in enumerate(stack, start=1):
            weight = values[f"layers.{number}.weight"]
            assert weight.dtype == np.int8
            if name == "qoperator.onnx" and weight.ndim == 2:
                weight = weight.T
            np.testing.assert_array_equal(weight.reshape(len(layer.weight), -1), layer.weight)
        weight = values["readout.weight"]
        np.testing.assert_array_equal(weight.T if name == "qoperator.onnx" else weight, readout.weight)
    for name, expected in (("qdq.onnx", READERS), ("qonnx.onnx", {EVALUATOR}), ("qoperator.onnx", READERS)):
        readers = summary["files"][name]["readers"]
        assert set(readers) == expected
        for figures in readers.values():
            assert figures["mean_logit_difference"] < 0.05
            assert figures["classes_equal"] > 0.8
            # what has no more than 8 bits between layers loses more
            assert name == "qoperator.onnx" or (figures["features_equal"] > 0.98 and figures["logits_equal"] > 0.8)


def test_operators_of_each_dialect(fixed_dense: Path, tmp_path: Path) -> None:
    export_onnx(fixed_dense, tmp_path / "out", samples=10)
    kinds = {name: operators(tmp_path / "out" / name) for name in ALL}
    assert {"QuantizeLinear", "DequantizeLinear", "Gemm"} <= kinds["qdq.onnx"]
    assert {"QLinearMatMul", "MatMulInteger"} <= kinds["qoperator.onnx"]
    assert "Quant" in kinds["qonnx.onnx"]
    assert not {"QuantizeLinear", "Quant"} & kinds["integer.onnx"]
    exact = []
    for name in ("qdq.onnx", "qoperator.onnx"):
        values, graph = initialisers(tmp_path / "out" / name), onnx.load(str(tmp_path / "out" / name)).graph
        scales = [node.input[1] for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
        exact += [float(values[each]) for each in scales]
    assert exact and all(np.frexp(scale)[0] == 0.5 for scale in exact)


def test_forms_that_other_tools_take(fixed_dense: Path, fixed_conv: Path) -> None:
    """QONNX's cleanup breaks on a node that reads a value twice; onnx2c takes zero points `[1]` in MatMulInteger."""
    for run in (fixed_dense, fixed_conv):
        planned, _ = plan(FinishedRun.open(run))
        nodes = planned["qonnx.onnx"].model.graph.node
        assert nodes and all(len(set(node.input)) == len(node.input) for node in nodes)
        graph = planned["qoperator.onnx"].model.graph
        shapes = {each.name: tuple(each.dims) for each in graph.initializer}
        products = [node for node in graph.node if node.op_type == "MatMulInteger"]
        assert products and all(shapes[name] == (1,) for node in products for name in node.input[2:])


def test_every_file_says_what_it_is(fixed_dense: Path, tmp_path: Path) -> None:
    summary = export_onnx(fixed_dense, tmp_path / "out", samples=10)
    for name in ALL:
        model = onnx.load(str(tmp_path / "out" / name))
        known = {each.key: each.value for each in model.metadata_props}
        assert (known["recipe"], known["seed"], known["backend"]) == ("tiny", "0", "fixed")
        assert known["rounding"] == "half_even" and known["scff_hw_version"] == model.producer_version
        assert json.loads(known["formats"])["layers.1"]["weight"]["bits"] == 8
        assert [each.version for each in model.opset_import if not each.domain] == [13]
        assert model.ir_version == 8
    card = (tmp_path / "out" / "README.md").read_text()
    assert all(f"`{name}`" in card for name in ALL)
    assert f"{summary['test_accuracy']:.2%}".replace("%", " %") in card
    assert max(map(len, card.splitlines())) < 1000


def test_the_same_run_gives_the_same_bytes(fixed_dense: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        export_onnx(fixed_dense, tmp_path / name, samples=10)
    for name in ALL:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("name", ["float.onnx", "integer.onnx"])
def test_one_changed_weight_fails_the_export(
    name: str, fixed_dense: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def perturbed(run: FinishedRun) -> Any:
        planned, left_out = plan(run)
        change_a_weight(planned[name].model)
        return planned, left_out

    monkeypatch.setattr(onnx_export, "plan", perturbed)
    with pytest.raises(ExportError, match=name):
        export_onnx(fixed_dense, tmp_path / "out", samples=SAMPLES)
    assert list(tmp_path.iterdir()) == []


def test_a_quantised_file_of_other_weights_fails_the_export(
    fixed_dense: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shuffled(run: FinishedRun) -> Any:
        planned, left_out = plan(run)
        for tensor in planned["qdq.onnx"].model.graph.initializer:
            if tensor.name == "readout.weight":
                values = np.ascontiguousarray(numpy_helper.to_array(tensor)[::-1])
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        return planned, left_out

    monkeypatch.setattr(onnx_export, "plan", shuffled)
    with pytest.raises(ExportError, match=r"qdq\.onnx"):
        export_onnx(fixed_dense, tmp_path / "out", samples=SAMPLES)


def test_8_bit_products_that_do_not_do_are_left_out(
    fixed_dense: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(onnx_check.CLOSE, "qoperator", 1e-9)
    summary = export_onnx(fixed_dense, tmp_path / "out", samples=20)
    assert list(summary["left_out"]) == ["qoperator.onnx"]
    assert not (tmp_path / "out" / "qoperator.onnx").exists()
    assert "Left out: `qoperator.onnx`" in (tmp_path / "out" / "README.md").read_text()


def test_a_graph_that_is_not_onnx_fails_the_export(
    float_conv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(run: FinishedRun) -> Any:
        planned, left_out = plan(run)
        planned["float.onnx"].model.graph.node[0].input[0] = "nowhere"
        return planned, left_out

    monkeypatch.setattr(onnx_export, "plan", broken)
    with pytest.raises(ExportError, match=r"float\.onnx is not valid ONNX"):
        export_onnx(float_conv, tmp_path / "out", samples=10)


def change_a_weight(model: onnx.ModelProto) -> None:
    """By one step of an integer, or by a thousandth."""
    for tensor in model.graph.initializer:
        if tensor.name == "readout.weight":
            values = numpy_helper.to_array(tensor).copy()
            values[0, 0] += values.dtype.type(1 if values.dtype == np.int8 else 1e-3)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
            return
    raise AssertionError("there is no readout.weight")


def initialisers(path: Path) -> dict[str, np.ndarray]:
    return {each.name: numpy_helper.to_array(each) for each in onnx.load(str(path)).graph.initializer}


def operators(path: Path) -> set[str]:
    return {node.op_type for node in onnx.load(str(path)).graph.node}
