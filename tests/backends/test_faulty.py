"""Broken devices stay broken, whatever is written and learned; the others learn on."""

from __future__ import annotations

import pytest
import torch

from scff_hw.backends import Dense, Optimisation
from scff_hw.backends.analog.faulty import FaultyArray, FaultyBackend
from scff_hw.errors import UsageError
from scff_hw.hardware import load_profile

GEOMETRY = Dense(30, 40)


def array(profile: str, kind: str, rate: float = 0.2, *, from_start: bool = True, seed: int = 0) -> FaultyArray:
    backend = FaultyBackend(load_profile(profile, ["array.rows=20 lines"]), seed, kind, rate, from_start)
    weight = torch.rand(40, 30, generator=torch.Generator().manual_seed(1)) - 0.5
    return backend.array(weight, torch.zeros(40), GEOMETRY, Optimisation("sgd", 0.5), name="layers.1")


def on_tiles(faulty: FaultyArray) -> torch.Tensor:
    lines = [torch.cat([tile._shared_weight_tensor for tile in line], dim=1) for line in faulty.grid.tiles]
    return torch.cat(lines).clone()


def learn(faulty: FaultyArray, steps: int = 5) -> None:
    draw = torch.Generator().manual_seed(2)
    for _ in range(steps):
        x = torch.rand(50, 30, generator=draw)
        faulty.mvm(x)
        faulty.update(x, torch.randn(50, 40, generator=draw) * 0.02, torch.zeros(40))


@pytest.mark.parametrize(
    ("profile", "kind", "values"),
    [
        ("ecram", "stuck-on", {1.1724}),
        ("ecram", "stuck-off", {-0.8276}),
        ("reram-es", "stuck-on", {1.0}),  # keeps what was written beside what is read
        ("pcm", "stuck-on", {2.0, -2.0}),  # either device of a pair
        ("pcm", "stuck-off", {0.0}),
        ("exact", "stuck-on", {1.0}),
        ("ecram", "dead-lines", {0.0}),
    ],
)
def test_what_is_broken_stays_and_the_rest_learns(profile: str, kind: str, values: set[float]) -> None:
    faulty = array(profile, kind)
    before = on_tiles(faulty)
    broken = torch.zeros(40, 30, dtype=torch.bool)
    for value in values:
        broken |= (before - value).abs() < 1e-6
    # 1200 devices: one standard error is 1.2 %; dead lines are 0.2 + 0.2 - 0.04 of them, in clusters
    expected = 0.36 if kind == "dead-lines" else 0.2
    assert float(broken.float().mean()) == pytest.approx(expected, abs=0.12 if kind == "dead-lines" else 0.05)
    learn(faulty)
    after = on_tiles(faulty)
    assert torch.equal(after[broken], before[broken])
    assert float((after != before)[~broken].float().mean()) > 0.3
    faulty.write(torch.zeros(40, 30))
    assert torch.equal(on_tiles(faulty)[broken], before[broken])
    read = faulty.weight
    x = torch.eye(30)
    if profile == "exact":
        torch.testing.assert_close(faulty.mvm(x), read.T)


def test_faults_after_learning_wait_and_those_of_a_lower_rate_are_among_those_of_a_higher() -> None:
    waiting = array("exact", "stuck-on", from_start=False)
    clean = on_tiles(waiting)
    assert float(clean.max()) < 1
    waiting.fail()
    few, many = on_tiles(array("exact", "stuck-on", 0.05)) == 1, on_tiles(waiting) == 1
    assert 0 < int(few.sum()) < int(many.sum()) and bool((many | ~few).all())
    assert not torch.equal(on_tiles(array("exact", "stuck-on", seed=1)), on_tiles(waiting))


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UsageError, match=r"one of stuck-on, stuck-off, dead-lines. Got 'stuck' instead; did you mean"):
        array("exact", "stuck")
