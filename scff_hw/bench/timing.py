"""Times several implementations of the same work in turn, so that other load on the machine affects all of them."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import torch

from scff_hw.core.memory import keep_large_blocks
from scff_hw.errors import UsageError
from scff_hw.training.progress import Progress


class Named(Protocol):
    """A case of a benchmark, with a name."""

    @property
    def name(self) -> str: ...


CaseType = TypeVar("CaseType", bound=Named)


def select_cases(cases: Sequence[CaseType], only: str) -> list[CaseType]:
    """Return the cases whose name contains `only`.

    Raises:
        UsageError: no name contains it.
    """
    selected = [case for case in cases if only in case.name]
    if not selected:
        names = "; ".join(case.name for case in cases)
        raise UsageError(f"The cases must be chosen by a part of one of these names: {names}. Got '{only}' instead.")
    return selected


@contextmanager
def as_in_training(threads: int) -> Iterator[None]:
    """Run the block with the settings of training: no gradients, freed memory kept, `threads` PyTorch threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.no_grad(), keep_large_blocks():
            yield
    finally:
        torch.set_num_threads(before)


def machine(threads: int, **more: Any) -> dict[str, Any]:
    """Return the processor, the number of PyTorch threads, the version of PyTorch, and the entries of `more`."""
    cpu = platform.processor() or platform.machine()
    return {"cpu": cpu, "threads": threads, "torch": torch.__version__, **more}


def in_turn(
    steps: Mapping[str, Callable[[], Any]], repeats: int, warm_up: int, progress: Progress
) -> dict[str, list[float]]:
    """Run the steps in turn; return the times of each in ms, over `repeats` turns after `warm_up` uncounted turns."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats + warm_up):
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            times[name].append((time.perf_counter() - began) * 1e3)
        progress.advance(1)
    return {name: values[warm_up:] for name, values in times.items()}


def ratio(times: Mapping[str, list[float]], over: str, under: str) -> dict[str, Any]:
    """Return the ratio of the median times `over` / `under`, its range over single turns, and the medians in ms."""
    pairs = [a / b for a, b in zip(times[over], times[under], strict=True)]
    medians = {name: statistics.median(values) for name, values in times.items()}
    return {
        "ratio": round(medians[over] / medians[under], 3),
        "ratio_range": [round(min(pairs), 3), round(max(pairs), 3)],
        **{f"{name}_ms": round(value, 2) for name, value in medians.items()},
    }
