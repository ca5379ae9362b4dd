"""Worker processes exit with their parent process."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

# one worker is busy for a minute, the other one is idle
TWO_WORKERS = """
import os, time
from joblib import delayed
from scff_hw.workers import unordered

def work(seconds):
    time.sleep(seconds)
    return os.getpid()

for process in unordered((delayed(work)(seconds) for seconds in (60, 0.1, 0.2)), 2):
    print(process, flush=True)
"""


@pytest.fixture
def parent() -> Iterator[subprocess.Popen[str]]:
    """A process whose two workers have started."""
    process = subprocess.Popen([sys.executable, "-c", TWO_WORKERS], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() and process.stdout.readline()
        yield process
        process.kill()


def test_workers_end_with_a_parent_that_was_killed(parent: subprocess.Popen[str]) -> None:
    children = psutil.Process(parent.pid).children(recursive=True)
    assert len(children) >= 2
    parent.kill()
    assert parent.wait(10) == -signal.SIGKILL
    _, alive = psutil.wait_procs(children, timeout=10)
    for child in alive:
        child.kill()
    assert alive == []
