"""Benchmarks: ratios measured in one run on one machine, or counted on an emulated one; no absolute times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from scff_hw.errors import UsageError
from scff_hw.registry import Registry
from scff_hw.training.progress import Progress, SilentProgress

Benchmark = Callable[..., dict[str, Any]]


def _checked(item: object) -> Benchmark:
    if not callable(item):
        raise UsageError(f"A benchmark must be a function. Got {item!r} instead.")
    return cast(Benchmark, item)


BENCHMARKS: Registry[Benchmark] = Registry(
    "benchmark",
    _checked,
    {
        "core": "scff_hw.bench.core:bench_core",
        "analog": "scff_hw.bench.analog:bench_analog",
        "fixed": "scff_hw.bench.fixed:bench_fixed",
        "kernels": "scff_hw.bench.kernels:bench_kernels",
        "recurrent": "scff_hw.bench.recurrent:bench_recurrent",
    },
)
"""Benchmarks by name: functions that take `progress` and options, and return `{"cases": [{"name", "ratio", ...}]}`."""


def run(name: str, *, progress: Progress | None = None, **options: Any) -> dict[str, Any]:
    """Run the benchmark `name` and return its results: `{"cases": [{"name", "ratio", ...}], ...}`.

    Raises:
        UsageError: no such benchmark.
    """
    return BENCHMARKS.get(name)(progress=progress or SilentProgress(), **options)
