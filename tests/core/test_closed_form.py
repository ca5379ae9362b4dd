"""The closed form against autograd, over shapes, thresholds, penalties and both geometries."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from scff_hw.backends import Conv2d, Dense, FloatBackend, Geometry, Optimisation
from scff_hw.core import SCFF, PairLayer, Partners, Stream, errors_from_gains, make_pairs, passes
from scff_hw.core.literal import LiteralLayer, pair

thetas = st.floats(0, 12, allow_nan=False)
penalties = st.sampled_from([0.0, 1e-4, 1e-2, 0.5])
seeds = st.integers(0, 2**31)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(
    samples=st.integers(1, 5),
    channels=st.integers(1, 9),
    positions=st.sampled_from([(), (1, 1), (3, 2), (4,)]),
    scale=st.sampled_from([0.01, 1.0, 30.0]),
    theta_pos=thetas,
    theta_neg=thetas,
    penalty=penalties,
    seed=seeds,
)
def test_errors_are_the_gradient_of_the_loss(
    samples: int,
    channels: int,
    positions: tuple[int, ...],
    scale: float,
    theta_pos: float,
    theta_neg: float,
    penalty: float,
    seed: int,
) -> None:
    z_pos, z_neg = (scale * normal(2, samples, channels, *positions, seed=seed)).requires_grad_()
    g_pos, g_neg = (torch.relu(z).pow(2).mean(dim=1) for z in (z_pos, z_neg))
    # not F.softplus: its gradient is rounded to 1 above 20, which is 2e-9 away
    loss = -F.logsigmoid(g_pos - theta_pos).mean() - F.logsigmoid(theta_neg - g_neg).mean()
    loss = loss + penalty * torch.linalg.vector_norm(g_pos.reshape(samples, -1), dim=1).mean()
    truth = torch.autograd.grad(loss, (z_pos, z_neg))
    found = errors_from_gains(SCFF(theta_pos, theta_neg, penalty), z_pos.detach(), z_neg.detach())
    torch.testing.assert_close(found.positive, truth[0], rtol=1e-9, atol=1e-15)
    torch.testing.assert_close(found.negative, truth[1], rtol=1e-9, atol=1e-15)
    torch.testing.assert_close(found.loss, loss.detach())
    torch.testing.assert_close(found.goodness_positive, g_pos.detach().mean())
    torch.testing.assert_close(found.goodness_negative, g_neg.detach().mean())


def test_a_silent_layer_has_no_error() -> None:
    errors = errors_from_gains(SCFF(1.0, 2.0, 0.1), -torch.ones(3, 4, 2, 2), -torch.ones(3, 4, 2, 2))
    assert not errors.positive.any() and not errors.negative.any()


def test_huge_goodness_stays_finite() -> None:
    errors = errors_from_gains(SCFF(1.0, 2.0, 0.1), torch.full((2, 3), 1e4), torch.full((2, 3), 1e4))
    assert all(torch.isfinite(value).all() for value in (errors.positive, errors.negative, errors.loss))


geometries = st.one_of(
    st.builds(Dense, st.integers(2, 12), st.integers(1, 9)),
    st.builds(Conv2d, st.integers(1, 4), st.integers(1, 9), st.sampled_from([1, 3, 5])),
)


@settings(max_examples=60)
@given(
    geometry=geometries,
    samples=st.integers(2, 6),
    made=st.booleans(),
    two_views=st.booleans(),
    chunk=st.sampled_from([1, 200, 10**9]),
    theta_pos=thetas,
    theta_neg=thetas,
    penalty=penalties,
    seed=seeds,
)
def test_one_learning_step_equals_the_literal_algorithm(
    geometry: Geometry,
    samples: int,
    made: bool,
    two_views: bool,
    chunk: int,
    theta_pos: float,
    theta_neg: float,
    penalty: float,
    seed: int,
) -> None:
    """From a layer's input to its new weights: one MVM and one outer product against concatenated pairs."""
    padding = geometry.kernel // 2 if isinstance(geometry, Conv2d) else 0
    shape = (geometry.inputs, 6, 7) if isinstance(geometry, Conv2d) else (geometry.inputs,)
    x, other = normal(2, samples, *shape, seed=seed)
    weight, bias = normal(*geometry.weight_shape, seed=seed + 1), normal(geometry.outputs, seed=seed + 2)
    shift = 1 + seed % (samples - 1)
    rule = SCFF(theta_pos, theta_neg, penalty)

    array = FloatBackend("float64").array(weight.float(), bias.float(), geometry, Optimisation("sgd", 1.0))
    before, bias_before = array.weight, array.bias.clone()
    stream = Stream(x, other) if not made else Stream(x, second_view=other if two_views else None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passes, "CHUNK_ELEMENTS", chunk)  # above it, errors take two passes, chunk by chunk
        telemetry, _ = PairLayer(array, rule, made, padding).learn(stream, Partners.cyclic(samples, shift))

    leaf, bias_leaf = before.clone().requires_grad_(), bias_before.clone().requires_grad_()
    literal = LiteralLayer(leaf, bias_leaf, theta_pos, theta_neg, penalty, concatenated=made, padding=padding)
    if made and two_views:
        first, second = (torch.cat([v], 1) for v in (x, other))
        x_pos, x_neg = two_view_pairs(first, second, shift)
    else:
        x_pos, x_neg = pair(x, other, literal, shift)
    loss = literal.loss(literal.pre_activation(x_pos), literal.pre_activation(x_neg))
    gradient, bias_gradient = torch.autograd.grad(loss, (leaf, bias_leaf))
    torch.testing.assert_close(before - array.weight, gradient, rtol=1e-7, atol=1e-11)
    torch.testing.assert_close(bias_before - array.bias, bias_gradient, rtol=1e-7, atol=1e-11)
    torch.testing.assert_close(telemetry.loss, loss.detach())


def two_view_pairs(first: Tensor, second: Tensor, shift: int) -> tuple[Tensor, Tensor]:
    """Pairs of two augmented views, as concatenations."""

    def standard(x: Tensor) -> Tensor:
        flat = x.flatten(1)
        return ((flat - flat.mean(1, keepdim=True)) / flat.std(1, keepdim=True)).view_as(x)

    a, b = standard(first), standard(second)
    return torch.cat([a, b], 1), torch.cat([a, b.roll(-shift, 0)], 1)


@given(samples=st.integers(2, 6), shift=st.integers(1, 5), seed=seeds, padding=st.integers(0, 2))
def test_one_mvm_gives_the_pre_activations_of_concatenated_pairs(
    samples: int, shift: int, seed: int, padding: int
) -> None:
    """The identity itself, in float64: z of a pair from one MVM a sample, joint standardisation included."""
    shift = 1 + shift % (samples - 1) if samples > 2 else 1
    x, weight, bias = normal(samples, 2, 5, 5, seed=seed), normal(4, 2, 3, 3, seed=seed + 1), normal(4, seed=seed + 2)
    array = FloatBackend("float64").array(weight, bias, Conv2d(2, 4, 3), Optimisation("sgd", 1.0))
    presentation = make_pairs(Stream(x), Partners.cyclic(samples, shift), padding)
    found = presentation.pre_activations(array.mvm(presentation.inputs), bias)
    literal = LiteralLayer(weight, bias, 0, 0, 0, concatenated=True, padding=padding)
    for mine, theirs in zip(found, pair(x, x, literal, shift), strict=True):
        assert mine is not None
        torch.testing.assert_close(mine, literal.pre_activation(theirs), rtol=1e-10, atol=1e-12)


def test_a_shift_outside_the_batch_is_refused() -> None:
    for shift in (0, 4, -1):
        with pytest.raises(ValueError, match=r"must be in 1\.\.3. Got"):
            Partners.cyclic(4, shift)
    with pytest.raises(ValueError, match=r"at least 2 samples"):
        Partners.draw(1, torch.Generator())
