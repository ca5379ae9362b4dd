"""Kills a command before each of its file operations, and tries to finish it: run as a script by test_crash_points.

    python crash_points.py FOLDER EVERY FILES -- COMMAND...

One child process is forked per crash point; it counts the file operations in its output folder and ends, as by SIGKILL,
before the n-th (n = 1, 1 + EVERY, ...). Another child then finishes the work: with --resume where the command is
`train`, and without it where that is refused.

Prints one JSON object: `points` tried; `dead_ends`, each n with what was said; `different`, each n with those of FILES
(separated by commas) that are not those of a command that was never killed, times aside; `leftovers`, hidden files.
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
"""Longest that a child may take before it is ended."""
CHANGES = ("os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.truncate", "os.link", "os.symlink")


class Counter:
    """An audit hook that ends the process before the n-th change of a file below `root`."""

    def __init__(self, root: Path, n: int) -> None:
        self.root, self.left = str(root), n

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            changes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if not changes or not str(path).startswith(self.root):
                return
        elif event not in CHANGES or not any(str(each).startswith(self.root) for each in arguments[:2]):
            return
        self.count()

    def count(self) -> None:
        self.left -= 1
        if self.left == 0:
            os._exit(KILLED)


def forked(work: Callable[[], int], said: Path) -> int:
    """The exit code of `work` in a child process; its standard error goes to `said`."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 99
        signal.alarm(SECONDS)
        try:
            handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(handle, 1)
            os.dup2(handle, 2)
            code = work()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_at(n: int, folder: Path, command: list[str], said: Path) -> Path | None:
    """The output folder of a command that was killed before its n-th file operation; None where it has fewer."""
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

    code = forked(killed, said)
    assert code in (0, KILLED), said.read_text()
    return out if code == KILLED else None


def warm(command: list[str]) -> None:
    """Import here, once, what every child would import; nothing that starts threads, which do not outlive a fork."""
    import torch

    from scff_hw.backends import make_backend
    from scff_hw.data import load

    load("iris")
    weight = torch.zeros(1)
    weight.grad = torch.ones(1)
    torch.optim.Adam([weight], fused=True).step()
    make_backend(command[command.index("--backend") + 1] if "--backend" in command else "float")


def content(path: Path) -> object:
    """What a file holds, without what depends on the clock or the folder."""
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

    # plots and the page take most of a tiny run's time; writing them is not what is tried here
    report.write_plots = lambda path: []
    report.html = lambda runs, out=None: out

    def finish(out: Path, *extra: str) -> int:
        return forked(lambda: cli([*command, *extra, "--out", str(out)]), said)

    # in a child too: threads that training starts (autograd's) would not outlive a fork
    whole, said = folder / "whole", folder / "said"
    assert finish(whole) == 0, said.read_text()
    found: dict[str, Any] = {"points": 0, "dead_ends": [], "different": [], "leftovers": []}
    n = 1
    while (out := kill_at(n, folder / f"killed-{n}", command, said)) is not None:
        found["points"] += 1
        if not any(finish(out, *extra) == 0 for extra in ([["--resume"], []] if command[0] == "train" else [[]])):
            found["dead_ends"].append([n, said.read_text()[-300:]])
        elif different := [name for name in files if content(out / name) != content(whole / name)]:
            found["different"].append([n, different])
        found["leftovers"] += [str(path.relative_to(folder)) for path in out.rglob(".*")]
        n += every
    print(json.dumps(found))


if __name__ == "__main__":
    main()
