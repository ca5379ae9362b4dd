"""The core benchmark: the content of its table, and that both versions give the same update."""

from __future__ import annotations

from typing import Any

import pytest

from scff_hw import bench
from scff_hw.errors import UsageError


@pytest.mark.parametrize(
    "case", ["mnist-mlp layer 1 float32", "cifar10-cnn layer 1 float32", "cifar10-cnn layer 1 bfloat16"]
)
def test_a_case_reports_a_ratio_of_two_ways_that_agree(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The learning step as it is timed, fused kernels included, against the literal algorithm; in batches of 20."""
    monkeypatch.setattr("scff_hw.bench.core.BATCH", 20)
    monkeypatch.setattr("scff_hw.bench.core.TURN_SECONDS", 0.02)
    result: dict[str, Any] = bench.run("core", only=case, repeats=1, threads=1)
    (measured,) = result["cases"]
    assert measured["name"] == case
    assert measured["update_error"] < measured["update_error_allowed"]
    assert measured["ratio"] == pytest.approx(measured["literal_ms"] / measured["core_ms"], rel=0.01)
    assert measured["core_peak_mib"] > 0 and measured["literal_peak_mib"] > 0
    assert result["machine"]["threads"] == 1


def test_an_unknown_benchmark_is_refused() -> None:
    message = r"must be one of core, analog, fixed, kernels, recurrent. Got 'cor' instead; did you mean 'core'"
    with pytest.raises(UsageError, match=message):
        bench.run("cor")
