"""Local worker processes that end with their parent process."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any, cast

_POLL_S = 0.5


def unordered(calls: Iterable[Any], jobs: int) -> Iterator[Any]:
    """Run `calls` (of `joblib.delayed`) in `jobs` worker processes and yield the results as they finish.

    The workers end when this process ends, also if it is killed or its terminal closes.
    """
    from joblib import Parallel

    pool = Parallel(
        n_jobs=jobs,
        backend="loky",
        return_as="generator_unordered",
        pre_dispatch="n_jobs",
        initializer=_end_with,
        initargs=(os.getpid(),),
    )
    return cast(Iterator[Any], pool(calls))


def _end_with(parent: int) -> None:
    """End this process soon after `parent` ends; a thread polls the parent's process number."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_POLL_S)
        os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
