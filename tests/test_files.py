"""Atomic files and folders, leftovers of killed processes, and locks, across real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from scff_hw.errors import BusyError
from scff_hw.files import exclusive, partial_file, partial_folder, write_atomic

HOLD = """
import sys, time
from pathlib import Path
from scff_hw.files import {name}
with {call}:
    print("held", flush=True)
    time.sleep(60)
"""


def holder(name: str, call: str) -> subprocess.Popen[str]:
    """A process inside `with CALL:`."""
    script = HOLD.format(name=name, call=call)
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_a_second_process_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    process = holder("exclusive", f"exclusive(Path({str(lock)!r}), Path('runs/a'))")
    with pytest.raises(BusyError, match=rf"^runs/a is in use by process {process.pid} \(-c\); wait"), exclusive(
        lock, Path("runs/a")
    ):
        pass
    assert lock.exists(), "the loser removed the winner's lock"
    kill(process)
    with exclusive(lock, Path("runs/a")):
        pass
    assert not lock.exists()


def test_waiting_for_a_lock_lets_one_in_at_a_time(tmp_path: Path) -> None:
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(20):
            with exclusive(tmp_path / ".lock", tmp_path, wait=True):
                inside += 1
                most = max(most, inside)
                time.sleep(0.001)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1 and os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["partial_file", "partial_folder"])
def test_what_a_killed_writer_left_is_removed_by_the_next_and_a_living_one_keeps_it(tmp_path: Path, name: str) -> None:
    target = tmp_path / "a[1].bin"
    call = f"{name}(Path({str(target)!r}))"
    living, dead = holder(name, call), holder(name, call)
    kill(dead)
    assert len(os.listdir(tmp_path)) == 2
    write_atomic(target, b"new")
    assert target.read_bytes() == b"new"
    assert len(os.listdir(tmp_path)) == 2, "the living one's, and the file"
    kill(living)
    write_atomic(target, b"newer")
    assert os.listdir(tmp_path) == [target.name]


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    for mask, file_mode, folder_mode in ((0o077, 0o600, 0o700), (0o002, 0o664, 0o775)):
        before = os.umask(mask)
        try:
            write_atomic(tmp_path / f"{mask}.txt", b"")
            with partial_folder(tmp_path / f"{mask}"):
                pass
        finally:
            os.umask(before)
        assert (tmp_path / f"{mask}.txt").stat().st_mode & 0o777 == file_mode
        assert (tmp_path / f"{mask}").stat().st_mode & 0o777 == folder_mode


def test_a_block_that_raises_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a", b"old")
    with pytest.raises(RuntimeError), partial_file(tmp_path / "a") as temporary:
        temporary.write_bytes(b"new")
        raise RuntimeError
    assert os.listdir(tmp_path) == ["a"] and (tmp_path / "a").read_bytes() == b"old"
