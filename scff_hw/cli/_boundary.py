"""The one place where an exception becomes one sentence on standard error and an exit code.

It imports little, and of the standard library alone: a signal that arrives while the rest is imported is met here too.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper

from scff_hw.errors import ScffError

TYPE_CHECKING = False  # not of `typing`, which would take longer to import than all the rest
if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType
    from typing import Any

DEBUG = "SCFF_HW_DEBUG"
FULL = (errno.ENOSPC, errno.EDQUOT)


class Interrupted(ScffError):
    """Ctrl-C or SIGTERM; the message says how to go on."""


class DiskFull(ScffError):
    """The disk is full; the message says which, and how to go on."""


class _Stop:
    """SIGINT, SIGTERM and SIGHUP of a command: each raises KeyboardInterrupt, until the command has ended.

    Code that was interrupted may raise something else in its place, such as a failed import: `received` tells.
    """

    def __init__(self) -> None:
        self.received = False
        self.ended = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not self.ended:
            self.received = True
            raise KeyboardInterrupt


_stop = _Stop()


@contextmanager
def resumable(out: Path, command: str, began: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Turn an interruption and a full disk into an error that tells how to continue the run in `out`.

    Args:
        began: whether there is anything that `command` could continue.
    """
    try:
        yield
    except (KeyboardInterrupt, Exception) as error:
        if isinstance(error, KeyboardInterrupt) or (_stop.received and not isinstance(error, ScffError)):
            how = f"; resume with: {command}" if began() else " before anything was saved."
            raise Interrupted(f"Interrupted{how}") from None
        if not isinstance(error, OSError) or error.errno not in FULL:
            raise
        how = f"continue with: {command}" if began() else "try again."
        raise DiskFull(f"No space left on the disk that holds {out}: free some and {how}") from None


def guarded(run: Callable[[], int]) -> int:
    """Return `run()`'s exit code; whatever it raises becomes one sentence and 1 (failed) or 2 (wrong use)."""
    with _interruptible():
        _open_standard_streams()
        try:
            code = run()
            _flush()
        except (KeyboardInterrupt, Exception) as error:
            _stop.ended = True
            return _failed(error)
    return code


def _failed(error: Any) -> int:
    """Say what the exception `error` means, and return its exit code."""
    typer: Any = sys.modules.get("typer")
    if isinstance(error, ScffError):
        return _fail(str(error), error.exit_code, error)
    if _stop.received or isinstance(error, KeyboardInterrupt):
        return _fail("Interrupted.")
    if typer is not None and isinstance(error, typer.Exit):
        return error.exit_code
    if typer is not None and isinstance(error, typer.Abort):
        return _fail("Interrupted.")
    if typer is not None and isinstance(error, typer.TyperException):
        return _fail(_usage(error), error.exit_code)
    if isinstance(error, BrokenPipeError):
        # The reader has seen enough.
        _give_up_unwritten()
        return 1
    if isinstance(error, OSError):
        _give_up_unwritten()
        return _fail(_os_error(error), 1, error)
    if (wanted := _memory(error)) is not None:
        message = f"Not enough memory{wanted}; choose smaller layers, smaller batches or fewer samples."
        return _fail(message, 1, error)
    from scff_hw.registry import failed_plugin

    if (plugin := failed_plugin(error)) is not None:
        return _fail(f"{_named(error)} - raised in {plugin}; {DEBUG}=1 shows the traceback.", 1, error)
    return _fail(_bug(error), 1, error)


def _flush() -> None:
    if sys.stdout is not None and not sys.stdout.closed:
        sys.stdout.flush()


def _give_up_unwritten() -> None:
    """Where standard output takes no more: Python would complain, and exit with 120, when it flushes at exit."""
    try:
        _flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _open_standard_streams() -> None:
    """Open what was closed by `>&-`: the next file opened would take its number, and get what is printed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM, and a closed terminal, stop a command as Ctrl-C does, so that it cleans up after itself.

    A signal that is ignored stays ignored: nohup ignores SIGHUP.
    """
    _stop.received = _stop.ended = False
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [n for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, _stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _fail(message: str, code: int = 1, error: BaseException | None = None) -> int:
    from scff_hw.cli._output import say

    if error is not None and os.environ.get(DEBUG) == "1":
        say(_traceback(error).rstrip(), style="dim")
    say(f"Error: {message}" if code and not message.startswith("Interrupted") else message, style="red")
    return code


def _usage(error: Any) -> str:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "scff-hw"
    message = error.format_message().removesuffix(".")
    return f"{message}{'' if message.endswith('?') else '.'} Try: {command} --help"


def _os_error(error: OSError) -> str:
    place = error.filename or "what was being written"
    if error.errno in FULL:
        return f"No space left on the disk that holds {place}: free some and try again."
    return f"{error.strerror or error}: {place}."


def _memory(error: BaseException) -> str | None:
    """How much memory could not be had, as far as `error` tells; None for another error."""
    text = str(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return ""
    if isinstance(error, RuntimeError) and "DefaultCPUAllocator" in text:  # PyTorch has no class of its own for it
        size = text.partition("tried to allocate ")[2].partition(" bytes")[0]
        return f" for {int(size) / 2**30:.1f} GiB" if size.isdecimal() else ""
    return None


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _traceback(error: BaseException) -> str:
    import traceback

    return "".join(traceback.format_exception(error))


def _bug(error: BaseException) -> str:
    return f"{_named(error)} - this is a bug in scff-hw; {_keep_traceback(error)}"


def _keep_traceback(error: BaseException) -> str:
    import tempfile

    text = _traceback(error)
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="scff-hw-", suffix=".traceback", delete=False, encoding="utf-8"
        ) as file:
            file.write(text)
    except OSError:
        return f"{DEBUG}=1 shows the traceback."
    return f"the traceback is in {file.name} ({DEBUG}=1 shows it)."
