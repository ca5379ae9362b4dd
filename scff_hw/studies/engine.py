"""Measures the points of a study in this process, in workers or on a cluster; stores each result immediately."""

from __future__ import annotations

import logging
import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from scff_hw.documents import PointResult, read_document, write_document
from scff_hw.errors import CheckpointError, MissingPartError, ScffError, UsageError, nearest
from scff_hw.registry import failed_plugin
from scff_hw.studies.point import Point, Row
from scff_hw.training.progress import Progress
from scff_hw.workers import unordered

ENGINES = ("local", "ray")
POINTS = "points"
CACHE = "weights"

Measure = Callable[[Point, Path], list[Row]]
"""Function that measures a point, given the cache folder; not nested, since worker processes import it by name."""


def stored_rows(folder: Path, point: Point) -> list[Row] | None:
    """Return the stored rows of a point, or None if the point was not measured yet.

    Raises:
        CheckpointError: the file of the point is damaged, or belongs to another point.
    """
    path = _path(folder, point)
    if not path.exists():
        return None
    try:
        result = read_document(path, PointResult)
    except CheckpointError as error:
        raise CheckpointError(f"{str(error).removesuffix('.')}; remove the file to measure its point again.") from None
    if (result.study, result.key) != (point.study, point.key):
        raise CheckpointError(
            f"The file {path} must be of point {point.key} of the study {point.study}. Got {result.key} of "
            f"{result.study} instead; remove the file to measure its point again."
        )
    return [point.labels | row.model_dump(exclude_unset=True) for row in result.rows]


def run_points(
    points: Sequence[Point], folder: Path, measure: Measure, *, engine: str, jobs: int, progress: Progress
) -> list[Row]:
    """Measure the points that `folder` does not contain yet; return the rows of all points, in order.

    Every result is written to `folder/points/` immediately, so no finished point is lost if this process is killed.

    Args:
        measure: called once per missing point, in the process that measures it, with gradients off.
        engine: "local", joblib's worker processes, or "ray".
        jobs: points measured in parallel; 1 measures in this process. With ray, the cluster decides.

    Raises:
        UsageError: no such engine.
        MissingPartError: ray is not installed.
        ScffError: a point failed; results of finished points stay stored.
    """
    if engine not in ENGINES:
        raise UsageError(
            f"The engine must be one of {', '.join(ENGINES)}. Got '{engine}' instead{nearest(engine, ENGINES, '.')}"
        )
    # points that differ only in their labels are one measurement
    missing = list({point.key: point for point in points if stored_rows(folder, point) is None}.values())
    total = len({point.key for point in points})
    progress.start("points", total, total - len(missing))
    cache = folder / CACHE
    results = _on_ray(missing, cache, measure) if engine == "ray" else _on_this_machine(missing, cache, measure, jobs)
    for index, rows, seconds in results:
        point = missing[index]
        write_document(_path(folder, point), PointResult.of(point.study, point.key, point.labels, rows, seconds))
        progress.advance(1, **({"test_accuracy": rows[-1]["test_accuracy"]} if rows else {}))
    progress.finish()
    return [row for point in points for row in stored_rows(folder, point) or []]


def run_point(
    index: int, point: Point, cache: Path, measure: Measure, threads: int, worker: bool
) -> tuple[int, list[Row], float]:
    """Measure one point in any process; return `index`, the rows of the point, and the time in s.

    Args:
        cache: folder of trained weights that points share, possibly on another machine.
        threads: number of PyTorch threads in this process.
        worker: ignore Ctrl-C, which the parent process handles.
    """
    import torch

    if worker:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        warnings.simplefilter("ignore")
    torch.set_num_threads(threads)
    began = time.monotonic()
    try:
        with torch.no_grad():
            rows = measure(point, cache)
    except ScffError as error:
        what = ", ".join(f"{name} {value}" for name, value in point.labels.items() if value != "")
        # an error that pickles, with the same exit code, since it is sent to the parent process
        raise (UsageError if error.exit_code == 2 else ScffError)(f"The point ({what}) failed: {error}") from None
    except Exception as error:
        # find the plug-in in this process, since tracebacks are not pickled
        if (plugin := failed_plugin(error)) is None:
            raise
        raise ScffError(f"{type(error).__name__}: {error} - raised in {plugin}.") from error
    return index, rows, time.monotonic() - began


def _on_this_machine(
    points: Sequence[Point], cache: Path, measure: Measure, jobs: int
) -> Iterator[tuple[int, list[Row], float]]:
    from joblib import delayed

    if jobs == 1 or len(points) < 2:
        import torch

        for index, point in enumerate(points):
            yield run_point(index, point, cache, measure, torch.get_num_threads(), False)
        return
    threads = max(1, (os.cpu_count() or 1) // jobs)
    calls = (delayed(run_point)(index, point, cache, measure, threads, True) for index, point in enumerate(points))
    yield from unordered(calls, jobs)


def _on_ray(points: Sequence[Point], cache: Path, measure: Measure) -> Iterator[tuple[int, list[Row], float]]:
    try:
        import ray
        from ray.exceptions import RayTaskError
    except ImportError:
        raise MissingPartError(
            "The engine ray needs Ray, which is not installed; type: pip install 'scff-hw[cluster]'"
        ) from None
    started = not ray.is_initialized()
    if started:
        # connects to a running cluster (RAY_ADDRESS), else starts one on this machine only
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        remote = ray.remote(num_cpus=1, max_retries=2)(run_point)
        folder = cache.absolute()
        waiting = [remote.remote(index, point, folder, measure, 1, True) for index, point in enumerate(points)]
        while waiting:
            done, waiting = ray.wait(waiting, num_returns=1)
            try:
                yield ray.get(done[0])
            except RayTaskError as error:
                raise error.cause if isinstance(error.cause, ScffError) else ScffError(str(error)) from None
    finally:
        if started:
            ray.shutdown()


def _path(folder: Path, point: Point) -> Path:
    return folder / POINTS / f"{point.key}.json"
