"""The fast convolutions equal PyTorch's in float64, in every strategy, at every size, and say what they refuse."""

from __future__ import annotations

from typing import cast

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.grad import conv2d_weight

from scff_hw.core.geometry import Conv2d, Workspace, conv2d, winograd
from scff_hw.core.geometry.conv2d import Strategy, choose, conv_mvm, conv_outer, prepare
from scff_hw.errors import UsageError

LAYER_1 = Conv2d(3, 96, 5)
LAYER_2 = Conv2d(96, 128, 3)
"""A third of CIFAR-10's layer 2, and of layer 3 below a twelfth: accuracy depends on the inputs alone."""
LAYER_3 = Conv2d(384, 128, 3)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def batch(
    geometry: Conv2d, n: int, height: int, width: int, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor, Tensor]:
    """Padded input, weight and error of one layer."""
    k = geometry.kernel
    return (
        normal(n, geometry.inputs, height, width, seed=1, dtype=dtype),
        normal(*geometry.weight_shape, seed=2, dtype=dtype),
        normal(n, geometry.outputs, height - k + 1, width - k + 1, seed=3, dtype=dtype),
    )


def reference(x: Tensor, weight: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
    """Convolution and weight gradient by PyTorch, in float64."""
    x, weight, error = x.double(), weight.double(), error.double()
    return F.conv2d(x, weight), conv2d_weight(x, list(weight.shape), error)


def relative_error(got: Tensor, expected: Tensor) -> float:
    assert got.shape == expected.shape
    return float((got.double() - expected).norm() / expected.norm())


def check(
    geometry: Conv2d, x: Tensor, weight: Tensor, error: Tensor, strategy: Strategy | None, bounds: tuple[float, float]
) -> None:
    prepared = prepare(x, geometry, strategy=strategy)
    u, gradient = conv_mvm(prepared, weight), conv_outer(prepared, error)
    wanted_u, wanted_gradient = reference(x, weight, error)
    assert u.dtype == gradient.dtype == x.dtype
    assert u.is_contiguous(memory_format=torch.channels_last)
    assert gradient.is_contiguous()
    assert relative_error(u, wanted_u) < bounds[0]
    assert relative_error(gradient, wanted_gradient) < bounds[1]


@settings(max_examples=40, deadline=None)
@given(
    strategy=st.sampled_from(["winograd", "columns", "direct"]),
    kernel=st.sampled_from([1, 2, 3, 5]),
    n=st.integers(1, 5),
    channels=st.tuples(st.integers(1, 5), st.integers(1, 6)),
    outputs=st.tuples(st.integers(1, 11), st.integers(1, 11)),
    last=st.booleans(),
)
def test_every_strategy_is_exact_in_float64(
    strategy: str, kernel: int, n: int, channels: tuple[int, int], outputs: tuple[int, int], last: bool
) -> None:
    kernel = 3 if strategy == "winograd" else kernel
    geometry = Conv2d(*channels, kernel)
    x, weight, error = batch(geometry, n, outputs[0] + kernel - 1, outputs[1] + kernel - 1, torch.float64)
    if last:
        x, error = (t.contiguous(memory_format=torch.channels_last) for t in (x, error))
    check(geometry, x, weight, error, cast(Strategy, strategy), (1e-12, 1e-12))


@pytest.mark.parametrize(
    ("geometry", "n", "side", "strategy"),
    [
        (LAYER_1, 4, 36, "columns"),
        (LAYER_2, 4, 18, "winograd"),
        (LAYER_3, 16, 10, "winograd"),
        (Conv2d(96, 64, 3), 9, 17, "winograd"),
        (Conv2d(1, 16, 3), 4, 30, "columns"),
        (Conv2d(20, 32, 5), 4, 12, "direct"),
    ],
)
def test_the_strategy_follows_the_shape_and_keeps_float32_accuracy(
    geometry: Conv2d, n: int, side: int, strategy: str
) -> None:
    x, weight, error = batch(geometry, n, side, side)
    assert choose(x, geometry) == strategy
    check(geometry, x, weight, error, None, (2e-6, 1e-5))


def test_an_input_far_from_zero_mean_keeps_float32_accuracy() -> None:
    x, weight, error = batch(LAYER_2, 4, 18, 18)
    check(LAYER_2, x.relu() + 3, weight, error.relu(), "winograd", (5e-6, 1e-5))


@pytest.mark.parametrize(
    ("geometry", "n", "side"),
    [
        (Conv2d(16, 64, 3), 100, 18),
        (Conv2d(96, 32, 3), 100, 18),
        (Conv2d(96, 64, 3), 3, 18),
        (Conv2d(96, 64, 3), 100, 7),
    ],
    ids=["few inputs", "few outputs", "few tiles", "5x5 outputs fill 8x8 tiles badly"],
)
def test_small_work_is_left_to_the_direct_convolution(geometry: Conv2d, n: int, side: int) -> None:
    assert choose(torch.empty(n, geometry.inputs, side, side), geometry) == "direct"


@pytest.mark.parametrize(("tiles", "elements"), [(1, 1), (6, 36 * 6 * 5), (9, 1 << 24)])
def test_the_result_does_not_depend_on_the_chunks(
    tiles: int, elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(winograd, "_CHUNK_TILES", tiles)
    monkeypatch.setattr(winograd, "_CHUNK_ELEMENTS", elements)
    geometry = Conv2d(5, 7, 3)
    check(geometry, *batch(geometry, 5, 8, 11, torch.float64), "winograd", (1e-12, 1e-12))


@pytest.mark.parametrize("strategy", ["winograd", "columns", "direct"])
def test_part_of_a_batch_is_the_same_as_preparing_that_part(strategy: Strategy) -> None:
    geometry = Conv2d(4, 6, 3)
    x, weight, error = batch(geometry, 5, 9, 12, torch.float64)
    part = prepare(x, geometry, strategy=strategy).narrow(1, 3)
    wanted_u, wanted_gradient = reference(x[1:4], weight, error[1:4])
    assert relative_error(conv_mvm(part, weight), wanted_u) < 1e-12
    assert relative_error(conv_outer(part, error[1:4]), wanted_gradient) < 1e-12


@pytest.mark.parametrize("strategy", ["winograd", "columns", "direct"])
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_out_receives_the_result(strategy: Strategy, memory_format: torch.memory_format) -> None:
    geometry = Conv2d(4, 6, 3)
    x, weight, _ = batch(geometry, 5, 9, 12)
    prepared = prepare(x, geometry, strategy=strategy)
    out = torch.empty(5, 6, 7, 10).contiguous(memory_format=memory_format)
    assert conv_mvm(prepared, weight, out) is out
    assert torch.equal(out, conv_mvm(prepared, weight))


@pytest.mark.parametrize("geometry", [Conv2d(4, 6, 3), Conv2d(3, 8, 5), Conv2d(40, 64, 3)])
def test_a_workspace_serves_batches_of_any_size_and_is_not_part_of_results(geometry: Conv2d) -> None:
    workspace = Workspace()
    results, references = [], []
    for n in (6, 12, 3):
        x, weight, error = batch(geometry, n, 18, 14)
        prepared = prepare(x, geometry, workspace)
        results += [conv_mvm(prepared, weight), conv_outer(prepared, error)]
        references += reference(x, weight, error)
    for got, expected in zip(results, references, strict=True):
        assert relative_error(got, expected) < 1e-5
    size = workspace.bytes
    prepare(batch(geometry, 12, 18, 14)[0], geometry, workspace)
    assert workspace.bytes == size > 0


@pytest.mark.parametrize("geometry", [Conv2d(3, 8, 5), Conv2d(40, 64, 3)])
def test_bfloat16_is_computed_in_float32_and_rounded_where_the_processor_lacks_it(
    geometry: Conv2d, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conv2d, "computes_bfloat16", lambda: False)
    x, weight, error = batch(geometry, 8, 18, 18, torch.bfloat16)
    prepared, wide = prepare(x, geometry), prepare(x.float(), geometry)
    assert prepared.strategy != "direct"
    assert torch.equal(conv_mvm(prepared, weight), conv_mvm(wide, weight.float()).bfloat16())
    assert torch.equal(conv_outer(prepared, error), conv_outer(wide, error.float()).bfloat16())


def test_bfloat16_is_left_to_a_processor_that_computes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conv2d, "computes_bfloat16", lambda: True)
    geometry = Conv2d(40, 64, 3)
    x, weight, error = batch(geometry, 8, 18, 18, torch.bfloat16)
    assert choose(x, geometry) == "direct"
    check(geometry, x, weight, error, None, (2e-2, 2e-2))


def test_weights_that_require_gradients_are_read_without_autograd() -> None:
    x, weight, error = batch(LAYER_1, 2, 9, 9)
    prepared = prepare(x.requires_grad_(), LAYER_1)
    assert not conv_mvm(prepared, weight.requires_grad_()).requires_grad
    assert not conv_outer(prepared, error.requires_grad_()).requires_grad


def test_an_input_of_other_channels_or_smaller_than_the_kernel_is_refused() -> None:
    for shape in ([2, 4, 9, 9], [2, 3, 9, 4], [3, 9, 9]):
        with pytest.raises(UsageError, match=r"must have shape \[N, 3, H, W\], H and W at least 5\. Got \["):
            prepare(torch.zeros(shape), LAYER_1)


def test_weights_outputs_and_errors_of_another_shape_are_refused() -> None:
    x, weight, error = batch(LAYER_1, 2, 9, 9)
    prepared = prepare(x, LAYER_1)
    with pytest.raises(UsageError, match=r"weight .* must have shape \[96, 3, 5, 5\]\. Got \[95, 3, 5, 5\]"):
        conv_mvm(prepared, weight[1:])
    with pytest.raises(UsageError, match=r"output .* must have shape \[2, 96, 5, 5\]\. Got \[2, 96, 5, 4\]"):
        conv_mvm(prepared, weight, torch.empty(2, 96, 5, 4))
    with pytest.raises(UsageError, match=r"error .* must have shape \[2, 96, 5, 5\]\. Got \[1, 96, 5, 5\]"):
        conv_outer(prepared, error[1:])
