"""The analog benchmark: the content of its table, and refused cases."""

from __future__ import annotations

import pytest

from scff_hw import bench
from scff_hw.errors import UsageError


def test_a_case_is_measured_against_the_tile_itself() -> None:
    result = bench.run("analog", only="ecram conv2d", repeats=1, threads=1)
    (case,) = result["cases"]
    assert case["name"] == "ecram conv2d 3x32 5x5"
    # a shared machine may stall: only the benchmark with its repeats checks the bound of 15 %
    assert 0.2 < case["ratio"] < 5 and case["at_most"] == 1.15
    assert result["machine"]["aihwkit"]


def test_unknown_cases_are_refused() -> None:
    with pytest.raises(UsageError, match=r"ideal dense 784x500.*Got 'dens3' instead"):
        bench.run("analog", only="dens3")
