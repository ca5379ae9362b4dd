"""The float backend: the shared contract in three formats, and its optimisers against PyTorch's own."""

from __future__ import annotations

import pytest
import torch

from scff_hw.backends import Backend, Dense, FloatBackend, Optimisation, make_backend
from scff_hw.backends.contract import BackendContract
from scff_hw.backends.float import FloatArray
from scff_hw.errors import CheckpointError, UsageError


class TestFloat32(BackendContract):
    def backend(self) -> Backend:
        return FloatBackend()


class TestFloat64(BackendContract):
    relative_error = 1e-6  # the contract gives its weights and biases as float32

    def backend(self) -> Backend:
        return FloatBackend("float64")


class TestBfloat16(BackendContract):
    relative_error = 2e-2  # eight bits of mantissa

    def backend(self) -> Backend:
        return FloatBackend("bfloat16")


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_many_updates_equal_autograd_with_the_same_optimiser(optimiser: str) -> None:
    draw = torch.Generator().manual_seed(0)
    weight, bias = torch.rand(5, 8, generator=draw), torch.rand(5, generator=draw)
    rate, decay = 0.03, 0.1
    momentum = 0.9 if optimiser == "sgd" else 0.0
    array = FloatBackend().array(
        weight, bias, Dense(8, 5), Optimisation(optimiser, rate, decay, momentum)
    )
    leaves = [weight.clone().requires_grad_(), bias.clone().requires_grad_()]
    if optimiser == "adamw":
        reference: torch.optim.Optimizer = torch.optim.AdamW(leaves, lr=rate, weight_decay=decay)
    else:
        reference = torch.optim.SGD(leaves, lr=rate, weight_decay=decay, momentum=momentum)
    for _ in range(20):
        x = torch.rand(4, 8, generator=draw)
        target = torch.rand(4, 5, generator=draw)
        reference.zero_grad()
        loss = ((x @ leaves[0].T + leaves[1] - target) ** 2).sum() / 2
        loss.backward()
        reference.step()
        error = array.mvm(x) + array.bias - target
        array.update(x, error, error.sum(0))
    torch.testing.assert_close(array.weight, leaves[0].detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(array.bias, leaves[1].detach(), rtol=1e-5, atol=1e-6)


def test_adamw_moments_survive_saving() -> None:
    def fresh() -> FloatArray:
        return FloatBackend().array(torch.ones(3, 4), torch.zeros(3), Dense(4, 3), Optimisation("adamw", 0.1))

    x, error, bias_error = torch.rand(5, 4), torch.rand(5, 3), torch.rand(3)
    straight, interrupted, resumed = fresh(), fresh(), fresh()
    for _ in range(4):
        straight.update(x, error, bias_error)
    for _ in range(2):
        interrupted.update(x, error, bias_error)
    resumed.load_state(interrupted.state())
    for _ in range(2):
        resumed.update(x, error, bias_error)
    assert torch.equal(straight.weight, resumed.weight) and torch.equal(straight.bias, resumed.bias)


def test_a_moment_of_another_shape_is_refused() -> None:
    array = FloatBackend().array(torch.ones(3, 4), torch.zeros(3), Dense(4, 3), Optimisation())
    array.update(torch.rand(5, 4), torch.rand(5, 3), torch.rand(3))
    state = array.state() | {"weight.exp_avg": torch.zeros(2, 2)}
    with pytest.raises(CheckpointError, match=r"'weight.exp_avg' of the state must have shape \[3, 4\]. Got \[2, 2\]"):
        array.load_state(state)


def test_unknown_names_are_refused_with_what_is_allowed() -> None:
    with pytest.raises(UsageError, match=r"must be one of .*float.* Got 'flaot' instead; did you mean 'float'"):
        make_backend("flaot")
    with pytest.raises(UsageError, match=r"dtype of the float backend must be one of .* Got 'int8'"):
        make_backend("float", dtype="int8")
    with pytest.raises(UsageError, match=r"must be 'adamw' or 'sgd'. Got 'adam' instead"):
        FloatBackend().array(torch.ones(3, 4), torch.zeros(3), Dense(4, 3), Optimisation("adam"))
    with pytest.raises(UsageError, match=r"must have shape \[3, 4\]. Got \[4, 3\]"):
        FloatBackend().array(torch.ones(4, 3), torch.zeros(3), Dense(4, 3), Optimisation())
