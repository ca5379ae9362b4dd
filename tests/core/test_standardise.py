"""Standardisation of constant, nearly constant, huge and tiny samples, in every float implementation, against NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from scff_hw.backends import Conv2d, Dense, FloatBackend, Optimisation
from scff_hw.backends.fixed import QFormat
from scff_hw.backends.fixed.reference import layer as reference
from scff_hw.core import SCFF, PairLayer, Partners, Stream, make_pairs, pass_pairs, standardise
from scff_hw.core.compiling import WORTH_COMPILING, compiled_if_large
from scff_hw.core.functional import scaled_to
from scff_hw.core.literal import LiteralLayer, pair
from scff_hw.export.nir.graph import FLAT
from scff_hw.export.onnx import float as onnx_float
from scff_hw.export.onnx.graph import FEATURES, LOGITS, Graph, Value
from scff_hw.export.onnx.runtimes import checked_model, readers

DTYPES = (torch.float32, torch.float64)
SIZES = [1, 2, 3, 64, 784, 50_000]
GREY_LEVELS = (np.arange(256) / 255 - 0.1307) / 0.3081
VALUES = [0.0, 0.1, -0.4242, 1 / 3, 255.0, 1e30, -1e30, 1e-30, 3e-39]


def truth(x: Tensor) -> NDArray[np.floating]:
    """The definition in extended precision, of differences from the first value, exact where they matter."""
    rows = x.flatten(1).numpy().astype(np.longdouble)
    spans, largest = np.ptp(rows, axis=1, keepdims=True), np.abs(rows).max(axis=1, keepdims=True)
    rows = rows - rows[:, :1]
    centred = rows - rows.mean(axis=1, keepdims=True)
    spread = np.sqrt((centred**2).sum(axis=1, keepdims=True) / max(rows.shape[1] - 1, 1))
    flat = spans <= 8 * torch.finfo(x.dtype).eps * largest
    return np.where(flat, 0, centred / np.where(flat, 1, spread)).reshape(x.shape)


def edge_cases(n: int, dtype: torch.dtype) -> Tensor:
    """Rows of `n`: constants, a few roundings apart and more, noise of every magnitude, one value that stands out."""
    draw = torch.Generator().manual_seed(n)
    rows = [torch.full((n,), value, dtype=dtype) for value in VALUES]
    noise = torch.rand(n, generator=draw, dtype=dtype)
    eps = torch.finfo(dtype).eps
    rows += [value * (1 + roundings * eps * noise) for value in VALUES[1:-1] for roundings in (1, 4, 40, 1e4)]
    rows += [scale * (noise - 0.4) for scale in (1e30, 1.0, 1e-30)]
    spike = torch.zeros(n, dtype=dtype)
    spike[n // 2] = 1
    return torch.stack([*rows, spike, 1 + spike, 1e30 * spike, 1e-30 * spike])


def assert_standardised(found: Tensor | NDArray[np.floating], x: Tensor) -> None:
    expected, found = truth(x), np.asarray(found)
    tolerance = 300 * torch.finfo(x.dtype).eps
    scale = np.abs(expected).reshape(len(x), -1).max(axis=1).reshape(-1, *(1,) * (x.dim() - 1))
    assert np.isfinite(found).all()
    assert not found[np.broadcast_to(scale == 0, found.shape)].any()
    assert (np.abs(found - expected) <= tolerance * scale).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_edge_cases_follow_the_definition(n: int, dtype: torch.dtype) -> None:
    x = edge_cases(n, dtype)
    assert_standardised(standardise(x), x)
    assert_standardised(standardise(x.view(len(x), 1, n, 1)).flatten(1), x)


def test_compiled_passes_follow_the_definition() -> None:
    x = edge_cases(3072, torch.float32)
    assert x.numel() > WORTH_COMPILING
    assert_standardised(compiled_if_large(standardise, x)(x), x)


@given(
    value=st.floats(-(2.0**100), 2.0**100, width=32),
    roundings=st.sampled_from([0, 1, 8, 9, 100]),
    n=st.integers(1, 300),
    dtype=st.sampled_from(DTYPES),
)
def test_what_counts_as_constant(value: float, roundings: int, n: int, dtype: torch.dtype) -> None:
    """One value next to equal ones, some roundings away."""
    x = torch.full((2, n), value, dtype=dtype)
    for _ in range(roundings):
        x[1, -1] = torch.nextafter(x[1, -1], torch.tensor(torch.inf, dtype=dtype))
    assert_standardised(standardise(x), x)


@given(exponent=st.integers(-95, 95), seed=st.integers(0, 99))
def test_scale_does_not_matter(exponent: int, seed: int) -> None:
    x = torch.randn(3, 17, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(standardise(x * 2.0**exponent), standardise(x), rtol=0, atol=2e-6)


@given(
    st.sampled_from([torch.float32, torch.float64]),
    st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0, 1.01, 1.1, 2.0, 1e4]),
    st.sampled_from([-32, -31, -30, -29, -28, 0, 26, 27, 28, 29, 30, 31]),
    st.integers(2, 40),
    st.integers(0, 999),
)
def test_a_sample_has_the_same_bits_beside_any_other(
    dtype: torch.dtype, mean: float, exponent: int, n: int, seed: int
) -> None:
    """Batches of ordinary samples take a shorter way, which a constant one beside them closes."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(1, n, generator=draw, dtype=dtype)
    x = (x + mean * x.std()) * 2.0**exponent
    assert torch.equal(standardise(x)[0], standardise(torch.cat((x, torch.ones_like(x))))[0])


def test_half_precision_is_standardised_in_float32() -> None:
    x = torch.randn(4, 100, generator=torch.Generator().manual_seed(0)).bfloat16()
    x[0] = 0.1
    found = standardise(x)
    assert found.dtype == torch.bfloat16 and not found[0].any()
    assert torch.equal(found, standardise(x.float()).bfloat16())


def test_no_gradient_is_lost_in_a_constant_sample() -> None:
    x = torch.tensor([[0.1] * 5, [1.0, 2.0, 3.0, 4.0, 9.0]], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(standardise(x).pow(3).sum(), x)
    assert torch.isfinite(gradient).all() and not gradient[0].any()
    assert torch.autograd.gradcheck(standardise, x.detach()[1:].requires_grad_())


def test_what_is_not_finite_stays_so() -> None:
    for value in (torch.nan, torch.inf):
        assert standardise(torch.tensor([[1.0, value, 2.0]])).isnan().any()


@pytest.mark.parametrize("n", [1, 2, 784, 50_000])
def test_onnx_graphs_and_nir_steps_follow_the_definition(n: int, tmp_path: Path) -> None:
    x = edge_cases(n, torch.float32)
    graph = Graph()
    graph.op("Identity", onnx_float.standardised(graph, Value("x", (n,))).name, name=LOGITS)
    graph.op("Identity", "x", name=FEATURES)
    path = tmp_path / "standardised.onnx"
    model = graph.model("standardised", (n,), dict.fromkeys((FEATURES, LOGITS), (n, 1)), {}, "")
    path.write_bytes(model.SerializeToString())
    found = {name: read(x.numpy())[1] for name, read in readers(path, checked_model(path)).items()}
    assert len(found) == 3
    for answer in found.values():
        assert_standardised(answer, x)
    assert_standardised(scaled_to(x, max(n - 1, 1), FLAT), x)


@pytest.mark.parametrize("n", [1, 2, 784])
def test_integers_agree_on_constant_samples(n: int) -> None:
    levels = np.arange(-127, 128)
    x = np.concatenate([np.repeat(levels[:, None], n, 1), np.arange(n)[None] % 100])
    found = reference.standardise(x, QFormat(8, 4), "half_even")
    expected = standardise(torch.from_numpy(x).float()).numpy() * 16
    assert not found[:-1].any() and not expected[:-1].any()
    assert np.abs(found - expected).max() < 1


@pytest.mark.parametrize("level", [0.0, 0.1, -0.4242, 1e30, 1e-30, *GREY_LEVELS[::51]])
@pytest.mark.parametrize("dense", [True, False])
def test_a_blank_half_of_a_pair_adds_the_bias_alone(level: float, dense: bool) -> None:
    """One learning step with a blank sample in it, against autograd on concatenated pairs."""
    draw = torch.Generator().manual_seed(0)
    shape = (30,) if dense else (2, 5, 6)
    x = torch.randn(4, *shape, generator=draw)
    x[1] = level
    x[2] = level
    geometry = Dense(30, 6) if dense else Conv2d(2, 6, 3)
    weight = torch.randn(geometry.weight_shape, generator=draw)
    bias = torch.rand(6, generator=draw)
    array = FloatBackend().array(weight, bias, geometry, Optimisation("sgd", 1.0))
    padding = 0 if dense else 1
    presentation = make_pairs(Stream(x), Partners.cyclic(4, 1), padding)
    assert not presentation.inputs[1:3].any()
    z_pos, z_neg = presentation.pre_activations(array.mvm(presentation.inputs), bias)
    assert z_neg is not None
    twice = 2 * bias.view(-1, *(1,) * (len(shape) - 1))
    for blank in (z_pos[1], z_pos[2], z_neg[1]):
        assert torch.equal(blank, twice.expand_as(blank))
    PairLayer(array, SCFF(1.0, 2.0, 0.01), True, padding).learn(Stream(x), Partners.cyclic(4, 1))
    leaves = weight.clone().requires_grad_(), bias.clone().requires_grad_()
    literal = LiteralLayer(*leaves, 1.0, 2.0, 0.01, concatenated=True, padding=padding)
    made = pair(x, x, literal, 1)
    gradients = torch.autograd.grad(literal.loss(*map(literal.pre_activation, made)), leaves)
    for before, now, gradient in zip((weight, bias), (array.weight, array.bias), gradients, strict=True):
        assert torch.isfinite(gradient).all()
        torch.testing.assert_close(before - now, gradient, rtol=1e-4, atol=1e-6)


def test_passed_streams_may_be_blank() -> None:
    x = torch.full((3, 4, 5, 5), 0.1)
    assert not pass_pairs(Stream(x, x), padding=1).inputs.any()
