"""Geometries answer for themselves, so that one of another package works wherever nothing else is said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from scff_hw.backends import Backend, FloatBackend, Optimisation
from scff_hw.backends.contract import BackendContract
from scff_hw.backends.fixed import FixedBackend
from scff_hw.core import SCFF, Network, PairLayer, Stream
from scff_hw.core.geometry import Conv2d, Dense, Geometry, Workspace
from scff_hw.core.random import generator
from scff_hw.errors import UsageError
from scff_hw.export.onnx.float import float_model


@dataclass(frozen=True)
class Conv1d(Geometry):
    """A third geometry, `x [R, inputs, T] -> [R, outputs, T - 2]`, that says no more than it must."""

    kind: ClassVar[str] = "conv1d"
    input_dims: ClassVar[int] = 3
    row_order: ClassVar[str] = "channel, step"

    @property
    def weight_shape(self) -> tuple[int, ...]:
        return self.outputs, self.inputs, 3

    @property
    def fan_out(self) -> int:
        return 3 * self.outputs

    @property
    def window(self) -> int:
        return 3

    def output_shape(self, sample: tuple[int, ...]) -> tuple[int, ...]:
        return self.outputs, sample[1] - 2

    def rows(self, x: Tensor) -> Tensor:
        return x.unfold(2, 3, 1).transpose(1, 2).flatten(2).flatten(0, 1).contiguous()


SAMPLES = {Dense(7, 5): (7,), Conv2d(2, 3, 3): (2, 6, 8), Conv1d(4, 5): (4, 9)}
PRODUCTS = {"dense": F.linear, "conv2d": F.conv2d, "conv1d": F.conv1d}


def case(geometry: Geometry) -> tuple[Tensor, Tensor]:
    draw = generator(0, "test", geometry.kind)
    x = torch.randn(6, *SAMPLES[geometry], generator=draw, dtype=torch.float64)
    return x, torch.randn(geometry.weight_shape, generator=draw, dtype=torch.float64)


each_geometry = pytest.mark.parametrize("geometry", SAMPLES, ids=lambda geometry: geometry.kind)


@each_geometry
def test_shapes_and_rows_are_those_of_pytorchs_product(geometry: Geometry) -> None:
    x, weight = case(geometry)
    truth = PRODUCTS[geometry.kind](x, weight)
    assert (6, *geometry.output_shape(SAMPLES[geometry])) == truth.shape
    assert geometry.rows(x).shape[1] == geometry.fan_in
    columns = geometry.rows(x) @ weight.flatten(1).T
    torch.testing.assert_close(columns, geometry.columns(truth))
    torch.testing.assert_close(geometry.fold(columns, x), truth)


@each_geometry
@pytest.mark.parametrize("exact", [False, True])
def test_both_products_equal_autograds(geometry: Geometry, exact: bool) -> None:
    x, weight = case(geometry)
    weight.requires_grad_()
    truth = PRODUCTS[geometry.kind](x, weight)
    error = torch.randn(truth.shape, generator=generator(1, "test"), dtype=torch.float64)
    truth.backward(error)
    assert weight.grad is not None
    with torch.no_grad():
        torch.testing.assert_close(geometry.mvm(x, weight), truth)
        torch.testing.assert_close(geometry.weight_gradient(x, error), weight.grad)
        prepared = geometry.prepare(x, Workspace(), exact=exact)
        torch.testing.assert_close(prepared.mvm(weight), truth)
        torch.testing.assert_close(prepared.outer(error), weight.grad)
        parts = [prepared.narrow(start, 2).outer(error[start : start + 2]).clone() for start in (0, 2, 4)]
    torch.testing.assert_close(torch.stack(parts).sum(0), weight.grad)


class TestAnotherPackagesGeometry(BackendContract):
    """The float backend's contract with a geometry that it does not know."""

    @pytest.fixture
    def geometry(self) -> Geometry:
        return Conv1d(3, 4)

    def backend(self) -> Backend:
        return FloatBackend()


def layer(geometry: Geometry) -> PairLayer:
    draw = generator(0, "test")
    weight, bias = torch.rand(geometry.weight_shape, generator=draw) - 0.5, torch.zeros(geometry.outputs)
    return PairLayer(FloatBackend().array(weight, bias, geometry, Optimisation("sgd", 0.1)), SCFF(1.0, 1.0), True)


def test_a_layer_learns_in_another_packages_geometry() -> None:
    network = Network([layer(Conv1d(4, 5))])
    before = network.arrays["layers.1"].weight
    telemetry = network.learn(Stream(torch.randn(8, 4, 9, generator=generator(2, "x"))), {0}, generator(3, "test"))
    assert torch.isfinite(telemetry[0].loss) and not torch.equal(before, network.arrays["layers.1"].weight)


def test_what_has_no_form_of_a_geometry_refuses_it_by_name() -> None:
    geometry = Conv1d(4, 5)
    weight, bias = torch.zeros(geometry.weight_shape), torch.zeros(5)
    with pytest.raises(UsageError, match=r"of a layer of the fixed backend must be dense or conv2d\. Got Conv1d\("):
        FixedBackend().array(weight, bias, geometry, Optimisation("sgd", 0.1))
    with pytest.raises(UsageError, match=r"of a layer in ONNX must be dense or conv2d\. Got Conv1d\("):
        float_model(Network([layer(geometry)]), [0], torch.zeros(3, 35), torch.zeros(3), (4, 9), {})
