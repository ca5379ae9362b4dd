"""The analog backend on real aihwkit tiles: the shared contract, exactly for exact devices, else statistically."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from scff_hw.backends import Backend, Conv2d, Dense, FloatBackend, Geometry, Metered, Optimisation, make_backend
from scff_hw.backends.analog import AnalogArray, AnalogBackend
from scff_hw.backends.contract import BackendContract
from scff_hw.errors import UsageError
from scff_hw.hardware import Profile, load_profile

PERFECT = "periphery={perfect: true}"


@cache
@cache
def profile(name: str, *overrides: str) -> Profile:
    return load_profile(name, overrides)


class TestExact(BackendContract):
    def backend(self) -> Backend:
        return AnalogBackend(profile("exact"))


class TestExactInPieces(BackendContract):
    """Layers larger than the crossbar: partial sums are added digitally, each tile has a scale of its own."""

    def backend(self) -> Backend:
        tiles = ("array={rows: 5 lines, columns: 3 lines}", "learning.weight_scaling_omega=0.3 w")
        return AnalogBackend(profile("exact", *tiles))


class TestIdealized(BackendContract):
    """n = 40 arrays, 900 where an array is one weight, each of a chip of its own; bound 20 %.

    A change is the sum of six samples (25 to 294 positions) of stochastic pulses. One array's has a relative error of
    about 0.3 (steps of 0.0002 w drawn one by one, a spread of 30 % over devices), the mean of n 0.3 / sqrt(40) = 5 %,
    twice the change of half the rate 10 %; a single weight's net change is small beside its pulses, and what is found
    of it is off by 6 % (root mean square) at n = 600, by 4 % at 1500: by 5 % here.
    """

    relative_error = 0.2
    repeats = 40
    learning_rate = 0.01
    error_scale = 0.5

    def repeats_of(self, geometry: Geometry) -> int:
        return 900 if geometry.fan_in * geometry.outputs == 1 else 40

    def backend(self) -> Backend:
        self.chips = getattr(self, "chips", 0) + 1
        # bounds without spread, so that none of the contract's weights is cut
        whole = "device.device_to_device={step: 30 %, w_min: 0 %, w_max: 0 %}"
        return AnalogBackend(profile("ideal", whole), self.chips)


def dense(backend: Backend, inputs: int = 20, outputs: int = 10, rate: float = 0.05, name: str = "") -> AnalogArray:
    draw = torch.Generator().manual_seed(0)
    weight = torch.rand(outputs, inputs, generator=draw) - 0.5
    array = backend.array(weight, torch.zeros(outputs), Dense(inputs, outputs), Optimisation("sgd", rate), name=name)
    assert isinstance(array, AnalogArray)
    return array


@pytest.mark.parametrize("geometry", [Dense(30, 12), Conv2d(3, 6, 3)], ids=["dense", "conv"])
@pytest.mark.parametrize("tiles", [(), ("array={rows: 8 lines, columns: 5 lines}",)], ids=["whole", "in pieces"])
def test_exact_tiles_learn_as_the_float_backend_does(geometry: Geometry, tiles: tuple[str, ...]) -> None:
    draw = torch.Generator().manual_seed(0)
    weight = torch.rand(geometry.weight_shape, generator=draw) - 0.5
    bias = torch.rand(geometry.outputs, generator=draw)
    learning = Optimisation("sgd", 0.05)
    tiled = AnalogBackend(profile("exact", "learning.weight_scaling_omega=0.3 w", *tiles))
    arrays = [backend.array(weight, bias, geometry, learning) for backend in (FloatBackend(), tiled)]
    for _ in range(10):
        shape = (6, geometry.inputs) if isinstance(geometry, Dense) else (6, geometry.inputs, 7, 7)
        x = torch.rand(shape, generator=draw)
        for array in arrays:
            error = (array.mvm(x) - 0.3) / 100
            array.update(x, error, error.sum([0, *range(2, error.dim())]))
    torch.testing.assert_close(arrays[1].weight, arrays[0].weight, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(arrays[1].bias, arrays[0].bias)


def test_a_layer_larger_than_the_crossbar_is_split_evenly() -> None:
    array = dense(AnalogBackend(profile("exact", "array={rows: 8 lines, columns: 4 lines}")))
    assert array.grid.input_sizes == [7, 7, 6] and array.grid.output_sizes == [4, 3, 3]


def test_the_two_halves_of_a_batch_take_turns() -> None:
    """All-positive, then all-negative updates would leave an asymmetric device far from where it started."""
    asymmetric = profile("ecram", PERFECT, "device.response.gamma_up=0.9", "device.response.gamma_down=0.9")
    array = dense(AnalogBackend(asymmetric), rate=1.0)
    array.write(torch.zeros(10, 20))
    x = torch.ones(200, 20)
    error = torch.cat([torch.full((100, 10), -0.02), torch.full((100, 10), 0.02)])
    array.update(x, error, torch.zeros(10))
    array_in_order = dense(AnalogBackend(asymmetric), rate=1.0)
    array_in_order.write(torch.zeros(10, 20))
    array_in_order.grid.update(x, error, 1.0)
    assert abs(array.weight.mean()) < 0.3 * abs(array_in_order.weight.mean())


def test_pulses_that_are_counted_are_those_that_happen() -> None:
    """Constant steps without any noise: the weights give the number of pulses. n = 200 samples, bound 5 %."""
    plain = (
        "device.response.cycle_to_cycle=0 %",
        "device.device_to_device.step=0 %",
        "learning.weight_scaling_omega=0 w",
    )
    array = dense(AnalogBackend(profile("ideal", PERFECT, *plain, "device.response.step=0.001 w")), rate=1.0)
    array.write(torch.zeros(10, 20))
    draw = torch.Generator().manual_seed(1)
    x, error = torch.rand(200, 20, generator=draw), torch.rand(200, 10, generator=draw) * 0.01
    array.update(x, error, torch.zeros(10))
    metrics = array.take_metrics()
    happened = float((array.weight / 0.001).abs().sum())
    assert metrics["pulses"] == pytest.approx(happened, rel=0.05)
    assert metrics["clipped_updates"] == 0
    assert array.take_metrics()["pulses"] == 0


def test_updates_too_large_for_a_train_are_counted_as_clipped() -> None:
    steps = ("device.response.step=0.001 w", "learning.weight_scaling_omega=0 w", "learning.max_pulses=10 pulses")
    array = dense(AnalogBackend(profile("ideal", *steps)), rate=1.0)
    error = torch.zeros(4, 10)
    error[:, :5], error[:, 5:] = 0.009, 0.02  # 9 and 20 steps of at most 10
    array.update(torch.ones(4, 20), error, torch.zeros(10))
    assert array.take_metrics()["clipped_updates"] == pytest.approx(0.5)


def test_weights_written_later_keep_the_scale_of_the_first() -> None:
    """Otherwise steps would become coarser than at the start, once weights have grown."""
    array = dense(AnalogBackend(profile("ecram", "learning.weight_scaling_omega=0.3 w")))
    scales, weight = array.grid.scales(), array.weight
    array.write(2 * weight)
    assert array.grid.scales() == scales
    assert torch.allclose(array.weight, 2 * weight, atol=1e-6)


def test_weights_at_their_bounds_are_counted() -> None:
    array = dense(AnalogBackend(profile("ideal", "learning.weight_scaling_omega=0 w")))
    assert array.take_metrics()["weights_at_bounds"] < 0.02
    weight = array.weight
    weight[:5] = 10.0
    array.write(weight)
    assert 0.5 <= array.take_metrics()["weights_at_bounds"] < 0.55


def test_fullness_is_that_of_devices_not_of_their_difference() -> None:
    """Up and down updates by turns fill both devices of a pair, while their difference, the weight, stays small."""
    fill = ["array.refresh_every=null", "learning.weight_scaling_omega=0 w", "device.device_to_device.w_max=0 %"]
    array = dense(AnalogBackend(profile("pcm", *fill)), rate=1.0)
    array.write(torch.zeros(10, 20))
    empty = array.take_metrics()
    assert empty["device_fullness"] < 0.02 and empty["weights_at_bounds"] == 0
    array.write(torch.cat([torch.ones(5, 20), -torch.ones(5, 20)]))  # one device of each pair half full, of 2 w
    half = array.take_metrics()
    assert half["device_fullness"] == pytest.approx(0.25, abs=0.01)
    assert half["device_fullness_p90"] == pytest.approx(0.5, abs=0.01)
    array.write(torch.zeros(10, 20))
    error = torch.full((200, 10), 0.3)
    error[100:] = -0.3
    for _ in range(3):
        array.update(torch.ones(200, 20), error, torch.zeros(10))
    full = array.take_metrics()
    hidden = array.grid.tiles[0][0].get_hidden_parameters()
    assert full["device_fullness"] == pytest.approx(
        float(torch.stack([hidden["hidden_weights_0"], hidden["hidden_weights_1"]]).mean()) / 2, abs=1e-3
    )
    assert full["device_fullness"] > 0.6 and float(array.weight.abs().mean()) / 2 < 0.2
    assert "device_fullness" not in dense(AnalogBackend(profile("ideal"))).take_metrics()


def test_an_exact_array_has_no_pulses() -> None:
    array = dense(AnalogBackend(profile("exact")))
    array.update(torch.ones(2, 20), torch.ones(2, 10), torch.zeros(10))
    assert isinstance(array, Metered) and not isinstance(dense(AnalogBackend(profile("exact"))).grid, Metered)
    assert array.take_metrics() == {"clipped_updates": 0.0, "weights_at_bounds": 0.0, "pulses": 0.0}


@pytest.mark.parametrize(
    ("device", "changes"), [("ideal", []), ("pcm", []), ("ecram", ["array.cell=random-pair"])], ids=str
)
def test_devices_follow_from_the_seed_the_name_and_the_tile(device: str, changes: list[str]) -> None:
    def devices(seed: int, name: str) -> list[torch.Tensor]:
        backend = AnalogBackend(profile(device, "array.rows=10 lines", *changes), seed)
        return [tile.tile.get_hidden_parameters() for tile in dense(backend, name=name).grid]

    first, again = devices(0, "layers.1"), devices(0, "layers.1")
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], first[1])
    for other in (devices(1, "layers.1"), devices(0, "layers.2")):
        assert not torch.equal(first[0], other[0])
    # parameters of both devices of a cell, side by side: max_bound, min_bound, dwmin_up, ...
    if device != "ideal":
        names = dense(AnalogBackend(profile(device, *changes))).grid.tiles[0][0].tile.get_hidden_parameter_names()
        bounds = [values for name, values in zip(names, first[0], strict=True) if name.startswith("max_bound")]
        assert len(bounds) == 2 and not torch.equal(*bounds)


@pytest.mark.parametrize(
    "name", ["ideal", "reram-es", "reram-sb", "capacitor", "ecram-mo", "pcm", "hfox-reset", "vnand-flash"]
)
def test_a_saved_array_goes_on_with_its_devices(name: str) -> None:
    """Everything a device keeps is restored: bounds and steps, and the weight below the one that write noise shows."""
    draw = torch.Generator().manual_seed(2)
    array, twin = dense(AnalogBackend(profile(name), 0)), dense(AnalogBackend(profile(name), 1))
    for _ in range(3):
        array.update(
            torch.rand(10, 20, generator=draw), torch.rand(10, 10, generator=draw) * 0.02 - 0.01, torch.zeros(10)
        )
    state = array.state()
    twin.load_state(state)
    found = twin.state()
    names = array.grid.tiles[0][0].tile.get_hidden_parameter_names()
    # write noise of a pair is drawn anew: its two devices then read the written values
    redrawn = [k for k, n in enumerate(names) if n.startswith("hidden_weights") and "persistent_weights_0" in names]
    for key in state:
        compared = [k for k in range(len(state[key])) if k not in redrawn] if key.endswith("hidden") else slice(None)
        assert torch.equal(found[key][compared], state[key][compared]), key


@pytest.mark.parametrize(
    "name",
    [
        "ideal",
        "gokmen-vlasov",
        "reram-es",
        "reram-sb",
        "capacitor",
        "ecram",
        "ecram-mo",
        "pcm",
        "hfox-reset",
        "vnand-flash",
    ],
)
def test_every_shipped_device_goes_where_the_gradient_sends_it(name: str) -> None:
    """Mean change over 5 000 devices, half sent up, half down, from the middle of the range."""
    array = dense(AnalogBackend(profile(name)), 50, 100, rate=1.0)
    array.write((torch.rand(100, 50, generator=torch.Generator().manual_seed(3)) - 0.5) * 0.1)
    before = array.weight
    error = torch.full((40, 100), 0.005)
    error[:, 50:] = -0.005
    array.update(torch.ones(40, 50), error, torch.zeros(100))
    change = array.weight - before
    assert change[:50].mean() < 0 < change[50:].mean()


def test_what_devices_cannot_do_is_refused_with_the_way_out() -> None:
    backend = AnalogBackend(profile("ideal"))
    weight, bias, geometry = torch.zeros(3, 4), torch.zeros(3), Dense(4, 3)
    for optimisation, message in (
        (Optimisation("adamw", 0.1), r"must be sgd.*Got 'adamw' instead; type: --set layers.1.learn.optimiser=sgd"),
        (
            Optimisation("sgd", 0.1, momentum=0.9),
            r"momentum of the analog backend must be 0.*--set layers.1.learn.momentum=0",
        ),
        (Optimisation("sgd", 0.1, weight_decay=0.1), r"weight decay .* must be 0.*--set layers.1.learn.weight_decay=0"),
    ):
        with pytest.raises(UsageError, match=message):
            backend.array(weight, bias, geometry, optimisation, "layers.1")
    with pytest.raises(UsageError, match=r"dtype of the analog backend must be float32. Got 'bfloat16'"):
        make_backend("analog", dtype="bfloat16")
    with pytest.raises(UsageError, match=r"device of the analog backend must be cpu. Got 'cuda' instead"):
        make_backend("analog", device="cuda")
    with pytest.raises(UsageError, match=r"float backend has no hardware, so it takes no profile. Got 'ideal'"):
        make_backend("float", profile=profile("ideal"))
