"""Programming noise and drift: the figures aihwkit's PCM model is validated against, and what must be refused."""

from __future__ import annotations

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
    return load_profile("pcm", ["array.rows=null", "array.columns=null"])


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
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
    if share == 1.0:
        assert float(found.std()) == pytest.approx(0.0426, abs=0.0007)


@pytest.mark.parametrize(("t_s", "mean"), [(HOUR_S, 0.773), (DAY_S, 0.662), (YEAR_S, 0.498)])
def test_drift_of_the_largest_weight(pcm: Profile, t_s: float, mean: float) -> None:
    array = programmed(torch.ones(200, 200), pcm)
    array.drift(t_s)
    assert float(array.weight.mean()) == pytest.approx(mean, abs=0.006)


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


def test_gaussian_programming_and_power_law_drift() -> None:
    changes = [
        "device.programming={kind: gaussian, noise: 0.02 w}",
        "device.drift={kind: power-law, exponent: 0.1, t_0: 1 s}",
    ]
    array = programmed(torch.ones(200, 200), load_profile("exact", changes))
    assert float(array.weight.min()) == pytest.approx(1 - 0.08, abs=0.03)
    before = array.weight
    array.drift(99.0)
    torch.testing.assert_close(array.weight, before * 100**-0.1, rtol=1e-4, atol=1e-5)


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
