"""Single operations of the integer graph, beyond what tiny networks reach."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scff_hw.backends.fixed.formats.formats import LayerFormats, QFormat, Rounding
from scff_hw.backends.fixed.reference import layer as reference
from scff_hw.backends.fixed.reference.arithmetic import divide
from scff_hw.core.functional import Pool
from scff_hw.errors import ExportError
from scff_hw.export.onnx import exact as onnx_exact
from scff_hw.export.onnx import integer as onnx_integer
from scff_hw.export.onnx import quantised as onnx_quantised
from scff_hw.export.onnx import standardise as onnx_standardise
from scff_hw.export.onnx.dependencies import TensorProto, helper
from scff_hw.export.onnx.graph import Graph, Value
from scff_hw.export.onnx.runtimes import checked_model, readers


def formats(shift: int, rounding: Rounding) -> LayerFormats:
    """Formats whose accumulators have `shift` fraction bits more than their pre-activations."""
    whole, narrow = QFormat(8, 0), QFormat(16, 0)
    return LayerFormats(whole, whole, QFormat(8, shift), None, 32, narrow, whole, whole, narrow, whole, rounding)


ROUNDINGS: tuple[Rounding, ...] = ("half_even", "half_up")


def computed(build: Callable[[Graph, Value], Value], x: np.ndarray, folder: Path) -> np.ndarray:
    """What a graph around `build` gives for float32 integers `[N, ...]`, by all readers, which must agree."""
    graph = Graph()
    found = build(graph, Value("x", x.shape[1:]))
    graph.op("Cast", found.name, name="logits", to=TensorProto.DOUBLE)
    graph.op("Identity", "x", name="features")
    kind = TensorProto.DOUBLE
    model = graph.model("operation", x.shape[1:], {"logits": (1, kind)}, {}, "")
    del model.graph.output[:]
    for name, shape, each in (("features", x.shape[1:], TensorProto.FLOAT), ("logits", found.shape, kind)):
        model.graph.output.append(helper.make_tensor_value_info(name, each, ["N", *shape]))
    path = folder / "operation.onnx"
    path.write_bytes(model.SerializeToString())
    answers = [read(x.astype(np.float32))[1] for read in readers(path, checked_model(path)).values()]
    for answer in answers[1:]:
        np.testing.assert_array_equal(answer, answers[0])
    return answers[0]


def samples(n: int) -> np.ndarray:
    """Noise, and what is extreme for a standardisation: constants, one value apart, both ends."""
    draw = np.random.default_rng(n)
    rows = [draw.integers(-127, 128, n), np.full(n, 127), np.full(n, -127), np.zeros(n, int)]
    for value in (1, -1, 127, -127):
        spike = np.zeros(n, int)
        spike[n // 2] = value
        rows.append(spike)
    rows += [np.where(np.arange(n) % 2, 127, -127), np.where(np.arange(n) < n // 2, 126, 127)]
    return np.stack(rows).astype(np.int64)


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("n", [1, 2, 3, 64, 784, 6400, 65_536])
@pytest.mark.parametrize("form", [QFormat(8, 4), QFormat(4, 0), QFormat(8, 9)])
def test_standardisation(n: int, form: QFormat, rounding: Rounding, tmp_path: Path) -> None:
    x = samples(n)
    found = computed(lambda graph, value: onnx_standardise.standardised(graph, value, form, rounding), x, tmp_path)
    np.testing.assert_array_equal(found, reference.standardise(x, form, rounding))


@pytest.mark.parametrize("rounding", ROUNDINGS)
@given(shift=st.integers(-8, 30), values=st.lists(st.integers(-(2**24), 2**24), min_size=1, max_size=20))
def test_rounding_shifts(
    rounding: Rounding, shift: int, values: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    x = np.array([values])

    def build(graph: Graph, value: Value) -> Value:
        return Value(onnx_exact.requantised(graph, value.name, shift, QFormat(16, 0), rounding), value.shape)

    found = computed(build, x, tmp_path_factory.getbasetemp())
    np.testing.assert_array_equal(found, reference.requantise(x, shift, 16, rounding))


@given(n=st.integers(1, 4000), values=st.lists(st.integers(5000 - 2**24, 2**24 - 5000), min_size=1, max_size=20))
def test_divisions(n: int, values: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    x = np.array([values])

    def build(graph: Graph, value: Value) -> Value:
        return Value(onnx_exact.divided(graph, value.name, n, onnx_exact.EXACT - 1), value.shape)

    np.testing.assert_array_equal(computed(build, x, tmp_path_factory.getbasetemp()), divide(x, n))


@given(
    n=st.integers(1, 2**16),
    values=st.lists(st.tuples(st.integers(-127, 127), st.integers(0, 2**16)), min_size=1, max_size=20),
)
def test_divisions_of_what_float32_does_not_hold(
    n: int, values: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    x = np.array([[each * n + rest % n * (1 if each >= 0 else -1) for each, rest in values]])

    def build(graph: Graph, value: Value) -> Value:
        bounds = int(np.abs(x).max()), 0, n
        return Value(onnx_exact.divided_wide(graph, value.name, None, 6, n, bounds), value.shape)

    np.testing.assert_array_equal(computed(build, x, tmp_path_factory.getbasetemp()), divide(x << 6, n))


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("shift", [0, 7, 8, 9, 15])
@pytest.mark.parametrize("kernel", [None, 3])
def test_products_too_long_for_float32_are_split(
    kernel: int | None, shift: int, rounding: Rounding, tmp_path: Path
) -> None:
    draw = np.random.default_rng(shift)
    shape = (5000,) if kernel is None else (400, 4, 4)
    fan_in = 5000 if kernel is None else 400 * 9
    x = draw.integers(100, 128, (3, *shape))
    weight = draw.integers(100, 128, (4, fan_in))
    # the later rows have small sums, odd and on halves
    weight[1:] *= np.where(np.arange(fan_in) % 2, 1, -1)
    bias = np.array([1, -(1 << 22), 3 << 14, 1 << shift])
    form = formats(shift, rounding)

    def build(graph: Graph, value: Value) -> Value:
        u = onnx_integer.product(graph, value, weight, kernel, 127, "w")
        assert not u.fits(bias)
        return Value(onnx_integer.summed(graph, u, bias, form, "b"), u.shape)

    found = computed(build, x, tmp_path)
    exact = reference.fields(x, kernel) @ weight.T + bias
    assert exact.max() > onnx_exact.EXACT and (exact % 2).any()
    expected = reference.requantise(exact, shift, 16, rounding)
    expected = expected[:, 0] if kernel is None else expected.transpose(0, 2, 1).reshape(found.shape)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("width", [300, 2000])
def test_logits_beyond_float32_are_exact(width: int, tmp_path: Path) -> None:
    draw = np.random.default_rng(width)
    x = draw.integers(100, 128, (4, width))
    weight, bias = draw.integers(100, 128, (3, width)), draw.integers(-1000, 1000, 3)
    graph = Graph()
    readout = onnx_integer.IntegerReadout(weight, bias, 0)
    onnx_integer.read_out(graph, [Value("x", (width,))], readout, 127)
    outputs = {"features": (width, TensorProto.INT8), "logits": (3, TensorProto.INT32)}
    path = tmp_path / "logits.onnx"
    path.write_bytes(graph.model("logits", (width,), outputs, {}, "").SerializeToString())
    expected = reference.logits(x, weight, bias)
    assert (expected.max() > onnx_exact.EXACT) == (width == 2000)
    for read in readers(path, checked_model(path)).values():
        np.testing.assert_array_equal(read(x.astype(np.float32))[1], expected)


POOLS = [
    Pool("max", 4, 2, 1, True),
    Pool("avg", 2, 2, 0, True),
    Pool("avg", 3, 2, 1, True),
    Pool("avg", 2, 3, 1, False),
    Pool("max", 2, 3, 1, True),
    Pool("avg", 1, 2, 0, True),
]


@pytest.mark.parametrize("pool", POOLS, ids=str)
@pytest.mark.parametrize("side", [5, 6, 7, 8])
def test_pools(pool: Pool, side: int, tmp_path: Path) -> None:
    x = np.random.default_rng(side).integers(0, 128, (3, 4, side, side + 1))
    found = computed(lambda graph, value: onnx_integer.pooled(graph, value, pool), x, tmp_path)
    np.testing.assert_array_equal(found, reference.pooled(x, pool))


@pytest.mark.parametrize("pool", [pool for pool in POOLS if pool.kind == "avg"], ids=str)
def test_averages_on_quantised_grids_round_as_the_reference(pool: Pool, tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 128, (20, 4, 7, 8))

    def build(graph: Graph, value: Value) -> Value:
        return onnx_quantised._pooled(graph, onnx_quantised.Qdq(), value, pool, QFormat(8, 0))

    np.testing.assert_array_equal(computed(build, x, tmp_path), reference.pooled(x, pool))


def test_an_open_batch_is_demanded(tmp_path: Path) -> None:
    graph = Graph()
    graph.op("Identity", "x", name="features")
    graph.op("Identity", "x", name="logits")
    outputs = {name: (3, TensorProto.FLOAT) for name in ("features", "logits")}
    model = graph.model("closed", (3,), outputs, {}, "")
    for each in (*model.graph.input, *model.graph.output):
        each.type.tensor_type.shape.dim[0].dim_value = 1
    path = tmp_path / "closed.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ExportError, match="must be open"):
        checked_model(path)
