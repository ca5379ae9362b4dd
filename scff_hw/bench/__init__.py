"""Benchmarks: ratios measured in one run on one machine, or counted on an emulated one; no absolute times."""

from __future__ import annotations

from typing import Any

from scff_hw.bench.core import bench_core
from scff_hw.errors import UsageError, nearest
from scff_hw.training.progress import Progress, SilentProgress

NAMES = ("core", "analog", "fixed", "kernels", "recurrent")


def run(name: str, *, progress: Progress | None = None, **options: Any) -> dict[str, Any]:
    """Run the named benchmark; returns `{"cases": [{"name", "ratio", ...}], ...}`.

    Raises:
        UsageError: no such benchmark.
    """
    if name not in NAMES:
        raise UsageError(
            f"The benchmark must be one of {', '.join(NAMES)}. Got '{name}' instead{nearest(name, NAMES, '.')}"
        )
    if name == "analog":
        from scff_hw.bench.analog import bench_analog

        return bench_analog(progress=progress or SilentProgress(), **options)
    if name == "fixed":
        from scff_hw.bench.fixed import bench_fixed

        return bench_fixed(progress=progress or SilentProgress(), **options)
    if name == "kernels":
        from scff_hw.bench.kernels import bench_kernels

        return bench_kernels(progress=progress or SilentProgress(), **options)
    if name == "recurrent":
        from scff_hw.bench.recurrent import bench_recurrent

        return bench_recurrent(progress=progress or SilentProgress(), **options)
    return bench_core(progress=progress or SilentProgress(), **options)
