"""The command line: `scff-hw`, or `python -m scff_hw`. Progress and tables go to standard error.

The commands are imported inside `main`, so that signals are handled from the first import on.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line on `argv` (by default the program's arguments) and return its exit code.

    0 success, 1 failure, 2 wrong use. No exception is raised: every error is one sentence on standard error.
    """
    try:
        from scff_hw.cli._boundary import guarded
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 1

    def run() -> int:
        from scff_hw.cli._app import invoke

        return invoke(list(sys.argv[1:] if argv is None else argv))

    return guarded(run)
