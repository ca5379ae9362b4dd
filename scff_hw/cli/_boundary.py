"""Converts exceptions to one sentence on standard error and an exit code.

Imports only a few standard modules, so that signals are also handled while the other modules are imported.
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

TYPE_CHECKING = False  # not from `typing`, whose import takes longer than all others
if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType
    from typing import Any

DEBUG = "SCFF_HW_DEBUG"
FULL = (errno.ENOSPC, errno.EDQUOT)


class Interrupted(ScffError):
    """Ctrl-C or SIGTERM; the message has the command that resumes."""


class DiskFull(ScffError):
    """The disk is full; the message names the disk and the command that resumes."""


class _Stop:
    """Handler of SIGINT, SIGTERM and SIGHUP: raises KeyboardInterrupt until the command has ended.

    Interrupted code may raise another error instead, such as a failed import; `received` records the signal.
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
    """Convert an interruption or a full disk to an error with the command that resumes the run in `out`.

    Args:
        began: whether there is anything to resume.
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
    """Return the exit code of `run()`; any exception becomes one sentence and code 1 (failure) or 2 (wrong use)."""
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
    """Print the message of the exception `error` and return its exit code."""
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
        # The reader of the pipe has closed it.
        _discard_unwritten()
        return 1
    if isinstance(error, OSError):
        _discard_unwritten()
        return _fail(_os_error(error), 1, error)
    if (amount := _memory(error)) is not None:
        message = f"Not enough memory{amount}; choose smaller layers, smaller batches or fewer samples."
        return _fail(message, 1, error)
    from scff_hw.registry import failed_plugin

    if (plugin := failed_plugin(error)) is not None:
        return _fail(f"{_named(error)} - raised in {plugin}; {DEBUG}=1 shows the traceback.", 1, error)
    return _fail(_bug(error), 1, error)


def _flush() -> None:
    if sys.stdout is not None and not sys.stdout.closed:
        sys.stdout.flush()


def _discard_unwritten() -> None:
    """Redirect a closed standard output; otherwise Python fails with exit code 120 when it flushes at exit."""
    try:
        _flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _open_standard_streams() -> None:
    """Open streams closed by `>&-`; otherwise the next opened file gets their number and all printed text."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM and a closed terminal stop a command as Ctrl-C does, with clean-up.

    Ignored signals stay ignored: nohup ignores SIGHUP.
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
    message = error.format_message().removesuffix(".") or "A subcommand is missing"  # typer shows the help before
    return f"{message}{'' if message.endswith('?') else '.'} Try: {command} --help"


def _os_error(error: OSError) -> str:
    path = error.filename or "what was being written"
    if error.errno in FULL:
        return f"No space left on the disk that holds {path}: free some and try again."
    return f"{error.strerror or error}: {path}."


def _memory(error: BaseException) -> str | None:
    """Return the amount of memory that could not be allocated, if known; None for another error."""
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
