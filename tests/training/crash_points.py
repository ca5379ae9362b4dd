"""Kills a command before each of its file operations, then runs it to its end: a script for test_crash_points.

    python crash_points.py FOLDER EVERY FILES -- COMMAND...

One child process is forked per crash point; it counts the file operations in its output folder and exits, as by
SIGKILL, before the n-th (n = 1, 1 + EVERY, ...). Another child then runs the command to its end: `train` with
--resume, or without it if that is refused.

Prints one JSON object: `points`, the number of crash points; `dead_ends`, n and the output of commands that could not
be completed; `different`, n and those of FILES (comma-separated) that differ from an undisturbed command's, apart from
times; `leftovers`, hidden files.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

KILLED = 42
SECONDS = 300
"""Time limit of a child."""
CHANGES = ("os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.truncate", "os.link", "os.symlink")


class Counter:
    """An audit hook that exits the process before the n-th change of a file below `root`."""

    def __init__(self, root: Path, n: int) -> None:
        self.root, self.left = str(root), n

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            changes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if not changes or not str(path).startswith(self.root):
                return
        elif event not in CHANGES or not any(str(path).startswith(self.root) for path in arguments[:2]):
            return
        self.count()

    def count(self) -> None:
        self.left -= 1
        if self.left == 0:
            os._exit(KILLED)


def forked(work: Callable[[], int], log: Path) -> int:
    """The exit code of `work` in a child process; its output goes to `log`."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 99
        signal.alarm(SECONDS)
        try:
            handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(handle, 1)
            os.dup2(handle, 2)
            code = work()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_at(n: int, folder: Path, command: list[str], log: Path) -> Path | None:
    """The output folder of a command killed before its n-th file operation; None if it has fewer."""
    from scff_hw.cli import main

    folder.mkdir()
    out = folder / "out"

    def killed() -> int:
        counter = Counter(out, n)
        synced = os.fsync

        def fsync(handle: int) -> None:
            counter.count()
            synced(handle)

        os.fsync = fsync
        sys.addaudithook(counter)
        return main([*command, "--out", str(out)])

    code = forked(killed, log)
    assert code in (0, KILLED), log.read_text()
    return out if code == KILLED else None


def warm(command: list[str]) -> None:
    """Import once what every child would import; start no threads, since a fork does not copy them."""
    import torch

    from scff_hw.backends import make_backend
    from scff_hw.data import load

    load("iris")
    weight = torch.zeros(1)
    weight.grad = torch.ones(1)
    torch.optim.Adam([weight], fused=True).step()
    make_backend(command[command.index("--backend") + 1] if "--backend" in command else "float")


def content(path: Path) -> object:
    """The content of a file, without values that depend on the clock or the folder."""
    if path.suffix != ".jsonl":
        return path.read_bytes() if path.exists() else None
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def main() -> None:
    folder, every, files = Path(sys.argv[1]), int(sys.argv[2]), [name for name in sys.argv[3].split(",") if name]
    command = sys.argv[sys.argv.index("--") + 1 :]

    import scff_hw.report as report
    import scff_hw.studies  # noqa: F401
    from scff_hw.cli import main as cli

    warm(command)

    # plots and the page take most of a tiny run's time, and are not tested here
    report.RunPlots.write = lambda self: []
    report.html = lambda runs, out=None: out

    def finish(out: Path, *extra: str) -> int:
        return forked(lambda: cli([*command, *extra, "--out", str(out)]), log)

    # in a child too: a fork would not copy the threads that training starts (autograd's)
    whole, log = folder / "whole", folder / "log"
    assert finish(whole) == 0, log.read_text()
    outcome: dict[str, Any] = {"points": 0, "dead_ends": [], "different": [], "leftovers": []}
    n = 1
    while (out := kill_at(n, folder / f"killed-{n}", command, log)) is not None:
        outcome["points"] += 1
        if not any(finish(out, *extra) == 0 for extra in ([["--resume"], []] if command[0] == "train" else [[]])):
            outcome["dead_ends"].append([n, log.read_text()[-300:]])
        elif different := [name for name in files if content(out / name) != content(whole / name)]:
            outcome["different"].append([n, different])
        outcome["leftovers"] += [str(path.relative_to(folder)) for path in out.rglob(".*")]
        n += every
    print(json.dumps(outcome))


if __name__ == "__main__":
    main()
