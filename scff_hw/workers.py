"""Worker processes on this machine, which end with the process that started them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any, cast

_POLL_S = 0.5


def unordered(calls: Iterable[Any], jobs: int) -> Iterator[Any]:
    """The results of `calls` (of `joblib.delayed`) in the order in which `jobs` worker processes finish them.

    The workers end when this process ends, however that ends: killed, or with its terminal.
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
    """End this process soon after `parent`, whose child it is then no more; a thread watches for that."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_POLL_S)
        os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
