"""What a seed decides on simulated hardware: devices, programming noise and drift; not noise of reads, nor pulses."""

from __future__ import annotations

import pytest
import torch

from scff_hw.backends import Dense, Optimisation
from scff_hw.backends.analog import AnalogArray, AnalogBackend
from scff_hw.backends.analog.programmed import ProgrammedArray
from scff_hw.hardware import load_profile

WEIGHT = torch.rand(10, 20, generator=torch.Generator().manual_seed(0)) - 0.5
X = torch.rand(40, 20, generator=torch.Generator().manual_seed(1))
ERROR = torch.rand(40, 10, generator=torch.Generator().manual_seed(2)) * 0.02 - 0.01


def learning(seed: int, *changes: str, profile: str = "ecram") -> AnalogArray:
    backend = AnalogBackend(load_profile(profile, changes), seed)
    array = backend.array(WEIGHT, torch.zeros(10), Dense(20, 10), Optimisation("sgd", 1.0), "layers.1")
    assert isinstance(array, AnalogArray)
    return array


def programmed(seed: int, *times_s: float) -> list[torch.Tensor]:
    """Weights after programming, and after each time."""
    array = ProgrammedArray(WEIGHT, torch.zeros(10), Dense(20, 10), load_profile("pcm"), seed, "layers.1")
    found = [array.weight]
    for time_s in times_s:
        array.drift(time_s)
        found.append(array.weight)
    return found


def test_programming_and_drift_repeat_with_the_seed() -> None:
    first, again, other = programmed(0, 1.0, 3600.0), programmed(0, 1.0, 3600.0), programmed(1, 1.0, 3600.0)
    for a, b, c in zip(first, again, other, strict=True):
        assert torch.equal(a, b) and not torch.equal(a, c)
    assert torch.equal(programmed(0, 3600.0)[1], first[2]), "a time drifts the same, whatever was read before it"


def test_devices_repeat_but_noise_of_reads_does_not() -> None:
    first, again = learning(0), learning(0)
    (one,), (two,) = first.grid, again.grid
    assert torch.equal(one.tile.get_hidden_parameters(), two.tile.get_hidden_parameters())
    assert torch.equal(first.weight, again.weight)
    assert not torch.equal(first.mvm(X), again.mvm(X))
    assert not torch.equal(first.mvm(X), first.mvm(X))


def test_pulses_do_not_repeat() -> None:
    first, again = learning(0), learning(0)
    for array in (first, again):
        array.update(X, ERROR, torch.zeros(10))
    assert not torch.equal(first.weight, again.weight)


@pytest.mark.parametrize("device", ["exact", "ideal"])
def test_what_draws_nothing_repeats(device: str) -> None:
    """Exact devices; and quiet devices under trains of the mean count, with perfect converters."""
    quiet = ("periphery={perfect: true}", "device.response.cycle_to_cycle=0 %", "learning.pulses=mean-count")
    arrays = [learning(0, *(quiet if device == "ideal" else ()), profile=device) for _ in range(2)]
    for array in arrays:
        array.update(X, ERROR, torch.zeros(10))
    assert torch.equal(arrays[0].weight, arrays[1].weight) and not torch.equal(arrays[0].weight, WEIGHT)
    assert torch.equal(arrays[0].mvm(X), arrays[1].mvm(X))
