"""The recurrent benchmark: the content of its table, and that both versions give the same update."""

from __future__ import annotations

import pytest

from scff_hw import bench
from scff_hw.errors import UsageError


def test_a_case_reports_a_ratio_of_two_ways_that_agree() -> None:
    result = bench.run("recurrent", only="100 units", repeats=1, threads=1)
    (case,) = result["cases"]
    assert case["name"] == "100 units, two directions" and case["at_least"] == 5
    assert case["update_error"] < 1e-9
    assert case["ratio"] == pytest.approx(case["literal_ms"] / case["core_ms"], rel=0.01)
    assert result["machine"]["threads"] == 1


def test_unknown_cases_are_refused() -> None:
    with pytest.raises(UsageError, match=r"500 units, one direction; .*Got '50 unit' instead"):
        bench.run("recurrent", only="50 unit")
