"""The rule whose roles are shuffled, against SCFF itself."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scff_hw.core import SCFF, Signals, rule_class
from scff_hw.core.rules import ShuffledSCFF


@given(
    rows=st.integers(1, 7),
    positions=st.sampled_from([(), (3,), (2, 2)]),
    theta=st.tuples(st.floats(0, 3), st.floats(0, 3)),
    penalty=st.sampled_from([0.0, 0.1]),
    seed=st.integers(0, 100),
)
def test_every_second_pair_is_what_scff_gives_with_roles_exchanged(
    rows: int, positions: tuple[int, ...], theta: tuple[float, float], penalty: float, seed: int
) -> None:
    draw = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(rows, 4, *positions, generator=draw, dtype=torch.float64) for _ in range(2))
    found = ShuffledSCFF(*theta, penalty).errors(Signals(a, a, b))
    for k in range(rows):
        one, other = (b, a) if k % 2 else (a, b)
        alone = SCFF(*theta, penalty).errors(Signals(a[k : k + 1], one[k : k + 1], other[k : k + 1]))
        positive, negative = (found.negative, found.positive) if k % 2 else (found.positive, found.negative)
        torch.testing.assert_close(positive[k : k + 1] * rows, alone.positive)
        torch.testing.assert_close(negative[k : k + 1] * rows, alone.negative)


def test_it_is_known_by_its_name() -> None:
    assert rule_class("scff-shuffled") is ShuffledSCFF


def test_two_samples_that_are_alike_teach_nothing_but_drift() -> None:
    """With both roles at both samples, the errors of the two cancel where thresholds agree and goodness equals them."""
    z = torch.ones(2, 4, dtype=torch.float64)
    found = ShuffledSCFF(1.0, 1.0).errors(Signals(z, z, z))
    assert found.positive.sum() + found.negative.sum() == pytest.approx(0.0)
