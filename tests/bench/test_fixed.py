"""The fixed-point benchmark: the content of its table, and refused cases."""

from __future__ import annotations

import pytest

from scff_hw import bench
from scff_hw.errors import UsageError


def test_a_case_is_measured_against_float() -> None:
    result = bench.run("fixed", only="mnist-500 layer 1, shadow_bits=0", repeats=1, threads=1)
    (case,) = result["cases"]
    assert case["name"] == "mnist-500 layer 1, shadow_bits=0"
    # a shared machine may stall: only the benchmark with its repeats checks the bound of a third
    assert 0.02 < case["ratio"] < 3 and case["at_least"] == 0.333
    assert case["fixed_ms"] > 0 and case["float_ms"] > 0
    assert result["machine"]["brevitas"]


def test_unknown_cases_are_refused() -> None:
    with pytest.raises(UsageError, match=r"mnist-500 layer 1; .*Got 'mnits' instead"):
        bench.run("fixed", only="mnits")
