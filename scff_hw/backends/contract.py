"""The contract of backends, as tests. Subclass `BackendContract`, return your backend from `backend`, run pytest.

    class TestMyBackend(BackendContract):
        def backend(self):
            return MyBackend()

For a backend with noisy reads or writes, `repeats` measurements are averaged, each on a new array, and the mean must
be within `relative_error` of the truth. Give a reason for the values of both: they are part of the claim.
"""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from torch import Tensor

from scff_hw.backends.float import FloatBackend
from scff_hw.core.arrays import Optimisation, SynapticArray
from scff_hw.core.backend import Backend, Trial
from scff_hw.core.geometry import Conv2d, Dense, Geometry
from scff_hw.core.layer import PairLayer
from scff_hw.core.network import Network
from scff_hw.core.pairs import Stream
from scff_hw.core.rules import SCFF
from scff_hw.errors import CheckpointError, UsageError

GEOMETRIES: tuple[Geometry, ...] = (Dense(13, 7), Dense(1, 1), Conv2d(3, 6, 5), Conv2d(8, 5, 3))
ROWS, SIZE = 6, 9


def _id(geometry: Geometry) -> str:
    return geometry.label.replace(" ", "-")


def _weights(geometry: Geometry, seed: int) -> tuple[Tensor, Tensor]:
    """Draw weights of either sign and magnitude 0.1 to 0.5, and biases within 0.5: all are above the read noise."""
    draw = torch.Generator().manual_seed(seed)
    weight = 0.1 + 0.4 * torch.rand(geometry.weight_shape, generator=draw)
    sign = 1 - 2 * torch.randint(2, geometry.weight_shape, generator=draw)
    return weight * sign, torch.rand(geometry.outputs, generator=draw) - 0.5


def _rows(geometry: Geometry, x: Tensor) -> Tensor:
    """Return one row of `x` per receptive field: `[R * positions, fan_in]`, float64."""
    return geometry.rows(x.double())


def _columns(geometry: Geometry, y: Tensor) -> Tensor:
    """Return outputs or errors as `[R * positions, outputs]`, float64, in the order of `_rows`."""
    return geometry.columns(y.double())


class BackendContract:
    """The tests that a backend must pass; the module's docstring describes how to subclass it."""

    relative_error: ClassVar[float] = 1e-5
    repeats: ClassVar[int] = 1
    learning_rate: ClassVar[float] = 0.1
    error_scale: ClassVar[float] = 0.5

    def backend(self) -> Backend:
        """Return the backend under test, a new one at each call."""
        raise NotImplementedError("return the backend under test from backend()")

    def repeats_of(self, geometry: Geometry) -> int:
        """Return the number of measurements to average; more for geometries with few weights."""
        return self.repeats

    @pytest.fixture(params=GEOMETRIES, ids=_id)
    def geometry(self, request: pytest.FixtureRequest) -> Geometry:
        return request.param

    def make(self, geometry: Geometry, seed: int = 0) -> SynapticArray:
        """Return an array with plain SGD and small random weights."""
        weight, bias = _weights(geometry, seed)
        return self.backend().array(weight, bias, geometry, Optimisation("sgd", learning_rate=self.learning_rate))

    def inputs(self, geometry: Geometry, seed: int = 1) -> Tensor:
        draw = torch.Generator().manual_seed(seed)
        return torch.rand((ROWS, *geometry.input_shape(SIZE)), generator=draw) * 2 - 1

    def errors(self, like: Tensor, seed: int = 2) -> Tensor:
        draw = torch.Generator().manual_seed(seed)
        return (torch.rand(like.shape, generator=draw) * 2 - 1) * self.error_scale

    def assert_close(self, measured: Tensor, truth: Tensor) -> None:
        """Assert that the Frobenius distance relative to the truth is below `relative_error`."""
        distance = float((measured.double() - truth.double()).norm() / truth.double().norm())
        assert distance < self.relative_error, f"relative error {distance:.2e}, allowed {self.relative_error:.0e}"

    def mean_mvm(self, geometry: Geometry, x: Tensor) -> Tensor:
        return torch.stack([self.make(geometry).mvm(x).double() for _ in range(self.repeats_of(geometry))]).mean(0)

    def mean_change(
        self,
        geometry: Geometry,
        x: Tensor,
        error: Tensor,
        bias_error: Tensor,
        *,
        read: Tensor | None = None,
        rate: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        """Return mean weight and bias changes by an update after an MVM of `read`; `rate` scales the learning rate."""
        changes = []
        for _ in range(self.repeats_of(geometry)):
            array = self.make(geometry)
            array.learning_rate = rate * self.learning_rate
            weight, bias = array.weight.double(), array.bias.double().clone()
            array.mvm(x if read is None else read)
            array.update(x, error, bias_error)
            changes.append((array.weight.double() - weight, array.bias.double() - bias))
        weights, biases = zip(*changes, strict=True)
        return torch.stack(weights).mean(0), torch.stack(biases).mean(0)

    def test_declares_its_properties(self) -> None:
        backend = self.backend()
        assert backend.name and backend.device_kinds
        assert {torch.device(kind).type for kind in backend.device_kinds} == set(backend.device_kinds)
        assert all(isinstance(text, str) for text in backend.documents().values())

    def test_is_restored_as_it_was_prepared(self) -> None:
        """Check that a resumed run can restore its backend from the documents in the run folder alone."""
        geometry = Dense(13, 7)
        weight, bias = _weights(geometry, 0)
        optimisation = Optimisation("sgd", learning_rate=self.learning_rate)

        def network() -> Network:
            array = FloatBackend().array(weight, bias, geometry, optimisation, "layers.1")
            return Network([PairLayer(array, SCFF(1.0, 1.0), makes_pairs=True)])

        samples = torch.rand(32, geometry.inputs, generator=torch.Generator().manual_seed(6))
        prepared = self.backend().prepare(Trial(network, lambda count: Stream(samples[:count]), batch=16))
        documents = prepared.documents()
        restored = self.backend().restore(lambda name: documents.get(name, ""), {"layers.1": geometry}, "a run")
        assert (type(restored), restored.name) == (type(prepared), prepared.name)
        array, twin = (each.array(weight, bias, geometry, optimisation, "layers.1") for each in (prepared, restored))
        twin.load_state(array.state())
        assert torch.equal(twin.weight, array.weight) and torch.equal(twin.bias, array.bias)

    def test_reads_repeat_unless_they_are_noisy(self, geometry: Geometry) -> None:
        x, array = self.inputs(geometry), self.make(geometry)
        assert self.backend().noisy_reads or torch.equal(array.mvm(x), array.mvm(x))

    def test_starts_from_the_weights_given(self, geometry: Geometry) -> None:
        expected, _ = _weights(geometry, 0)
        array = self.make(geometry)
        assert array.weight.shape == geometry.weight_shape
        self.assert_close(array.weight, expected)
        low, high = array.weight_range()
        assert low == pytest.approx(float(array.weight.min())) and high == pytest.approx(float(array.weight.max()))

    def test_mvm_is_the_product_with_the_weights(self, geometry: Geometry) -> None:
        x = self.inputs(geometry)
        u = self.mean_mvm(geometry, x)
        assert u.shape == (ROWS, *geometry.output_shape(geometry.input_shape(SIZE)))
        weight = self.make(geometry).weight.double().flatten(1)
        self.assert_close(_columns(geometry, u), _rows(geometry, x) @ weight.T)

    def test_mvm_is_linear(self, geometry: Geometry) -> None:
        a, b = self.inputs(geometry, 3), self.inputs(geometry, 4)
        combined = self.mean_mvm(geometry, 0.25 * a - 0.5 * b)
        self.assert_close(combined, 0.25 * self.mean_mvm(geometry, a) - 0.5 * self.mean_mvm(geometry, b))

    def test_mvm_changes_nothing(self, geometry: Geometry) -> None:
        array = self.make(geometry)
        before = array.state()
        array.mvm(self.inputs(geometry))
        after = array.state()
        assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)

    def test_update_is_minus_the_rate_times_the_outer_product(self, geometry: Geometry) -> None:
        x = self.inputs(geometry)
        error = self.errors(self.make(geometry).mvm(x))
        bias_error = self.errors(torch.zeros(geometry.outputs), seed=5)
        change, bias_change = self.mean_change(geometry, x, error, bias_error)
        outer = _columns(geometry, error).T @ _rows(geometry, x)
        self.assert_close(change.flatten(1), -self.learning_rate * outer)
        self.assert_close(bias_change, -self.learning_rate * bias_error)

    def test_update_does_not_need_a_fresh_mvm(self, geometry: Geometry) -> None:
        x, other = self.inputs(geometry), self.inputs(geometry, 7)
        error, bias_error = self.errors(self.make(geometry).mvm(x)), torch.zeros(geometry.outputs)
        fresh, _ = self.mean_change(geometry, x, error, bias_error)
        stale, _ = self.mean_change(geometry, x, error, bias_error, read=other)
        self.assert_close(stale, fresh)

    def test_one_update_takes_the_rows_of_many_reads(self) -> None:
        """Check a recurrent layer's use: one MVM per step, with fewer rows each time, then one update with all rows."""
        geometry = Dense(7, 7)
        x = self.inputs(geometry)
        error, bias_error = self.errors(x), torch.zeros(geometry.outputs)
        changes = []
        for _ in range(self.repeats_of(geometry)):
            array = self.make(geometry)
            weight = array.weight.double()
            for rows in x.split([3, 2, 1]):
                array.mvm(rows)
            array.update(x, error, bias_error)
            changes.append(array.weight.double() - weight)
        self.assert_close(torch.stack(changes).mean(0), -self.learning_rate * error.double().T @ x.double())

    def test_learning_rate_scales_the_update(self, geometry: Geometry) -> None:
        x, array = self.inputs(geometry), self.make(geometry)
        error, bias_error = self.errors(array.mvm(x)), torch.zeros(geometry.outputs)
        array.learning_rate = self.learning_rate / 2
        assert array.learning_rate == pytest.approx(self.learning_rate / 2)
        whole, _ = self.mean_change(geometry, x, error, bias_error)
        half, _ = self.mean_change(geometry, x, error, bias_error, rate=0.5)
        self.assert_close(2 * half, whole)

    def test_continues_from_a_saved_state(self, geometry: Geometry) -> None:
        x = self.inputs(geometry)
        array, twin = self.make(geometry), self.make(geometry, seed=9)
        error = self.errors(array.mvm(x))
        bias_error = self.errors(torch.zeros(geometry.outputs))
        array.update(x, error, bias_error)
        saved = array.state()
        copies = {name: value.clone() for name, value in saved.items()}
        twin.load_state(saved)
        assert torch.equal(twin.weight, array.weight) and torch.equal(twin.bias, array.bias)
        for each in (array, twin):
            each.update(x, error, bias_error)
        self.assert_close(twin.weight, array.weight)
        assert all(torch.equal(saved[name], copies[name]) for name in saved), "the state shares memory with the array"

    def test_refuses_the_state_of_another_array(self, geometry: Geometry) -> None:
        other = self.make(Dense(geometry.inputs + 1, geometry.outputs))
        with pytest.raises(CheckpointError, match="must have shape"):
            self.make(geometry).load_state(other.state())
        incomplete = self.make(geometry).state()
        del incomplete["weight"]
        with pytest.raises(CheckpointError, match="no tensor 'weight'"):
            self.make(geometry).load_state(incomplete)

    def test_refuses_an_input_of_another_shape(self, geometry: Geometry) -> None:
        x = self.inputs(geometry)
        wider = torch.cat([x, x], dim=1)
        with pytest.raises(UsageError, match="must have"):
            self.make(geometry).mvm(wider)

    def test_is_deterministic_under_a_seed(self, geometry: Geometry) -> None:
        if self.repeats > 1:
            pytest.skip("a noisy backend repeats statistically, which the other tests bound")
        x = self.inputs(geometry)
        ends = []
        for _ in range(2):
            array = self.make(geometry)
            for _ in range(3):
                u = array.mvm(x)
                array.update(x, self.errors(u), torch.zeros(geometry.outputs))
            ends.append(array.weight)
        assert torch.equal(*ends)
