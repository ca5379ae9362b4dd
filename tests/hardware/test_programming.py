"""Programming noise and drift: published values of aihwkit's PCM model, and refused profiles."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scff_hw.backends import Conv2d, Dense
from scff_hw.backends.analog.programmed import ProgrammedArray
from scff_hw.errors import UsageError
from scff_hw.hardware import Profile, load_profile

HOUR_S, DAY_S, YEAR_S = 3600.0, 86400.0, 31_557_600.0
COUNT = 40_000


def programmed(weight: torch.Tensor, profile: Profile, seed: int = 0, compensated: bool = False) -> ProgrammedArray:
    geometry = Dense(weight.shape[1], weight.shape[0])
    return ProgrammedArray(weight, torch.zeros(len(weight)), geometry, profile, seed, "layers.1", compensated)


@pytest.fixture(scope="module")
def pcm() -> Profile:
    """Devices with an upper bound of 25 uS without spread, so that the published values apply to all of them."""
    return load_profile("pcm", ["array.rows=null", "array.columns=null", "device.device_to_device.w_max=0 %"])


@pytest.mark.parametrize("share", [0.25, 0.5, 0.8])
def test_programming_noise_is_the_published_polynomial(pcm: Profile, share: float) -> None:
    """In uS: 0.26348 + 1.9650 r - 1.1731 r^2, r = g / 25 uS (Nandakumar et al., ICECS 2019)."""
    weight = torch.full((200, 201), share)
    weight[:, 0] = 1.0  # sets what stands for g_max
    found = programmed(weight, pcm).weight[:, 1:]
    sigma = (0.26348 + 1.9650 * share - 1.1731 * share**2) / 25
    # sigma of n draws is known to 1 / sqrt(2 n); the other device of the pair, at 0, adds half its own variance
    zero = 0.26348 / 25
    expected = (sigma**2 + zero**2 * (0.5 - 0.5 / torch.pi)) ** 0.5
    assert float(found.std()) == pytest.approx(float(expected), rel=5 / (2 * COUNT) ** 0.5)


@pytest.mark.parametrize(("t_s", "mean"), [(HOUR_S, 0.773), (DAY_S, 0.662), (YEAR_S, 0.498)])
def test_drift_of_large_weights(pcm: Profile, t_s: float, mean: float) -> None:
    """Conductances of 20 uS, which the bound does not clip, drift as those of 25 uS."""
    weight = torch.full((200, 201), 0.8)
    weight[:, 0] = 1.0
    array = programmed(weight, pcm)
    before = float(array.weight[:, 1:].mean())
    array.drift(t_s)
    assert float(array.weight[:, 1:].mean()) / before == pytest.approx(mean, abs=0.006)


def test_compensation_gives_the_mean_back(pcm: Profile) -> None:
    weight = torch.rand(100, 100, generator=torch.Generator().manual_seed(0)) * 2 - 1
    plain, compensated = programmed(weight, pcm), programmed(weight, pcm, compensated=True)
    assert torch.equal(plain.weight, compensated.weight)  # one seed, one chip
    plain.drift(YEAR_S)
    compensated.drift(YEAR_S)
    assert float(plain.weight.abs().mean() / weight.abs().mean()) < 0.6
    assert float(compensated.weight.abs().mean() / weight.abs().mean()) == pytest.approx(1.0, abs=0.1)
    x = torch.rand(300, 100, generator=torch.Generator().manual_seed(1))
    # an output is read with noise of 0.1 w times the largest input, here 1
    assert float((compensated.mvm(x) - x @ compensated.weight.T).std()) < 0.3


def test_seeds_decide_and_leave_other_draws_alone(pcm: Profile) -> None:
    weight = torch.rand(20, 20)
    before = torch.random.get_rng_state()
    first, again, other = programmed(weight, pcm), programmed(weight, pcm), programmed(weight, pcm, seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first.weight, again.weight) and not torch.equal(first.weight, other.weight)


def test_without_figures_of_programming_a_weight_is_off_by_one_write() -> None:
    noisy = load_profile("reram-es", ["device.response.write_noise=0.05 w"])
    weight = torch.zeros(200, 200)
    weight[0, 0] = 1.0
    assert float(programmed(weight, noisy).weight.std()) == pytest.approx(0.05, rel=0.05)
    exact = programmed(torch.eye(20), load_profile("exact")).weight
    torch.testing.assert_close(exact, torch.eye(20))


def test_gaussian_programming_noise_is_that_of_each_device() -> None:
    weight = torch.full((100, 101), 0.5)
    weight[:, 0] = 1.0
    noise = "device.programming={kind: gaussian, noise: 0.02 w}"
    for cell, parts in (
        ("single", 1.0),
        ("one-sided-pair", (1 + 0.5 - 0.5 / torch.pi) ** 0.5),
        ("random-pair", 0.5**0.5),
    ):
        quiet = [
            "device.response.w_min=0 w",
            "device.device_to_device={w_min: 0 %, w_max: 0 %}",
            "device.response.step=0.0001 w",
        ]
        found = programmed(weight, load_profile("gokmen-vlasov", [noise, f"array.cell={cell}", *quiet])).weight[:, 1:]
        # the device of a one-sided pair that is at 0 cannot go below
        assert float(found.std()) == pytest.approx(0.02 * parts, rel=0.04), cell


CELLS = ["single", "one-sided-pair", "random-pair"]
SIEMENS = ["device.g_min=2 uS", "device.g_max=42 uS"]


@pytest.mark.parametrize("cell", CELLS)
def test_drift_of_a_cell_is_that_of_its_devices_against_what_does_not_drift(cell: str) -> None:
    """Independent calculation: g(t) = g (1 + t / t_0)^-exponent per device; the reference of a single device is fixed.

    With g from 2 to 42 uS for -1 to 1 w, a weight of 0 is a device of 22 uS: after an hour at an exponent of 0.05 and
    t_0 of 1 s it has lost 7.39 uS, of 20 uS per w, -0.37 w; a pair of such devices keeps its 0.
    """
    drifts = "device.drift={kind: power-law, exponent: 0.05, t_0: 1 s}"
    plain = [*SIEMENS, drifts, "device.response.step=0.0001 w", "device.device_to_device={w_min: 0 %, w_max: 0 %}"]
    array = programmed(torch.tensor([[0.0, 1.0, -1.0, 0.5]]), load_profile("ideal", [*plain, f"array.cell={cell}"]))
    array.drift(HOUR_S)
    left = (1 + HOUR_S) ** -0.05
    w = np.array([0.0, 1.0, -1.0, 0.5])
    if cell == "one-sided-pair":
        expected = left * w  # both devices at 22 uS and above lose their share
        assert expected[0] == 0
    else:
        expected = (left * (22 + 20 * w) - 22) / 20
        assert expected[0] == pytest.approx(-0.37, abs=0.001)
    np.testing.assert_allclose(array.weight.numpy()[0], expected, atol=2e-4)


@pytest.mark.parametrize("cell", CELLS)
def test_devices_keep_within_their_bounds_and_stuck_ones_where_they_are(cell: str) -> None:
    """Noise of half the range; every device conductance is between 2 and 42 uS."""
    spreads = [
        "device.device_to_device={w_min: 30 %, w_max: 30 %}",
        "device.defects={stuck: 50 %, stuck_within: 0.1 w}",
    ]
    noise = "device.programming={kind: gaussian, noise: 0.5 w}"
    profile = load_profile("ideal", [*SIEMENS, *spreads, noise, f"array.cell={cell}"])
    weight = torch.rand(60, 70, generator=torch.Generator().manual_seed(0)) * 2 - 1
    first, again = programmed(weight, profile), programmed(-weight, profile)
    (devices,), (others,) = first.devices, again.devices
    siemens, stuck = devices.conductances.double(), devices.lower == devices.upper
    assert float(siemens.min()) >= 2e-6 * (1 - 1e-6) and float(siemens.max()) <= 42e-6 * (1 + 1e-6)
    in_w = (siemens - 22e-6) / 20e-6
    assert bool((in_w >= devices.lower - 1e-5).all()) and bool((in_w <= devices.upper + 1e-5).all())
    assert float(stuck.float().mean()) == pytest.approx(0.5, abs=5 * (0.25 / stuck.numel()) ** 0.5)
    assert float(in_w[stuck].abs().max()) <= 0.1 + 1e-5
    assert torch.equal(devices.conductances[stuck], others.conductances[stuck])  # whatever is written
    assert not torch.equal(devices.conductances[~stuck], others.conductances[~stuck])
    if cell == "single":
        low, high = devices.lower[0], devices.upper[0]
        outside = ~stuck[0] & ((weight / weight.abs().max() > high) | (weight / weight.abs().max() < low))
        assert first.clipped == int(outside.sum()) > 0


def test_programmed_devices_are_those_of_a_learning_tile_of_the_same_seed() -> None:
    from scff_hw.backends.analog.tiles import TileGrid

    profile, weight = load_profile("ideal"), torch.full((30, 20), 1.0)
    learning = TileGrid(10 * weight, load_profile("ideal", ["learning.weight_scaling_omega=0 w"]), 4, "layers.1")
    bounds = learning.read()  # weights far beyond the bounds are cut there
    (devices,) = programmed(weight, profile, seed=4).devices
    torch.testing.assert_close(devices.upper[0], bounds.clamp(max=1.0))


def test_a_device_of_few_states_holds_no_others() -> None:
    """Steps of 1 w from -1 to 1 w: the nearest of three levels; with 0.3 w the upper bound is also a level."""
    plain = ["device.device_to_device={w_min: 0 %, w_max: 0 %}", "device.response.step=1 w", "array.rows=null"]
    weight = torch.linspace(-1, 1, 2001).unsqueeze(0)
    found = programmed(weight, load_profile("ideal", plain)).weight
    assert set(found.flatten().tolist()) == {-1.0, 0.0, 1.0}
    assert float((found - weight).abs().max()) <= 0.5 + 1e-6
    plain[1] = "device.response.step=0.3 w"
    found = programmed(weight, load_profile("ideal", plain)).weight
    levels = np.append(np.arange(-1, 1, 0.3), 1.0)
    nearest = np.abs(weight.numpy()[0, :, None] - levels).min(axis=1)
    np.testing.assert_allclose((found - weight).abs().numpy()[0], nearest, atol=1e-5)


def test_weights_use_the_whole_range_of_the_mean_device() -> None:
    """EcRAM from -0.8276 to 1.1724 w: the smallest scale at which no weight exceeds a bound."""
    plain = ["device.device_to_device={w_min: 0 %, w_max: 0 %}", "device.response.write_noise=0 w"]
    for weight, scale in (([-2.0, 1.0], 2 / 0.8276), ([-1.0, 2.0], 2 / 1.1724)):
        array = programmed(torch.tensor([weight]), load_profile("ecram", plain))
        assert array.grid.scales()[0][0] == pytest.approx(scale, rel=1e-6) and array.clipped == 0
    half = load_profile("ideal", [*plain[:1], "device.response.w_min=0 w"])
    array = programmed(torch.tensor([[-1.0, 0.5, 0.0, -0.1]]), half)
    assert array.clipped == 2 and array.weight.flatten().tolist() == [0, 0.5, 0, 0]


def test_a_convolution_reads_its_windows() -> None:
    weight = torch.rand(4, 3, 2, 2) - 0.5
    array = ProgrammedArray(weight, torch.zeros(4), Conv2d(3, 4, 2), load_profile("exact"), 0)
    x = torch.rand(2, 3, 5, 6)
    torch.testing.assert_close(array.mvm(x), torch.conv2d(x, weight), rtol=1e-4, atol=1e-5)


def test_drift_that_is_not_known_is_refused_and_programmed_weights_do_not_learn() -> None:
    array = programmed(torch.eye(4), load_profile("ecram"))
    with pytest.raises(UsageError, match=r"'ecram' must have device.drift for weights to drift.*Got null instead"):
        array.drift(HOUR_S)
    with pytest.raises(NotImplementedError, match="do not learn"):
        array.update(torch.ones(1, 4), torch.ones(1, 4), torch.ones(4))
