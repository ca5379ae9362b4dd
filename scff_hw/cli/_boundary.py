"""The one place where an exception becomes one sentence on standard error and an exit code."""

from __future__ import annotations

import errno
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import typer

from scff_hw.cli._output import say
from scff_hw.errors import ScffError

DEBUG = "SCFF_HW_DEBUG"
FULL = (errno.ENOSPC, errno.EDQUOT)


class Interrupted(ScffError):
    """Ctrl-C or SIGTERM; the message says how to go on."""


class DiskFull(ScffError):
    """The disk is full; the message says which, and how to go on."""


@contextmanager
def resumable(out: Path, command: str) -> Iterator[None]:
    """Turn an interruption and a full disk into an error that tells how to continue the run in `out`."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"Interrupted; resume with: {command}") from None
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise DiskFull(f"No space left on the disk that holds {out}: free some and continue with: {command}") from None


def guarded(run: Callable[[], int]) -> int:
    """Return `run()`'s exit code; whatever it raises becomes one sentence and 1 (failed) or 2 (wrong use)."""
    try:
        with _terminable():
            code = run()
            _flush()
        return code
    except typer.Exit as leave:
        return leave.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _fail("Interrupted.")
    except ScffError as error:
        return _fail(str(error), error.exit_code, error)
    except typer.TyperException as error:
        return _fail(_usage(error), error.exit_code)
    except BrokenPipeError:
        # The reader has seen enough.
        _give_up_unwritten()
        return 1
    except OSError as error:
        _give_up_unwritten()
        return _fail(_os_error(error), 1, error)
    except Exception as error:
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


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM stop a command as Ctrl-C does, so that it cleans up after itself."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _fail(message: str, code: int = 1, error: BaseException | None = None) -> int:
    if error is not None and os.environ.get(DEBUG) == "1":
        say("".join(traceback.format_exception(error)).rstrip(), style="dim")
    say(f"Error: {message}" if code and not message.startswith("Interrupted") else message, style="red")
    return code


def _usage(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "scff-hw"
    message = error.format_message().removesuffix(".")
    return f"{message}{'' if message.endswith('?') else '.'} Try: {command} --help"


def _os_error(error: OSError) -> str:
    place = error.filename or "what was being written"
    if error.errno in FULL:
        return f"No space left on the disk that holds {place}: free some and try again."
    return f"{error.strerror or error}: {place}."


def _bug(error: Exception) -> str:
    what = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return f"{what} - this is a bug in scff-hw; {_keep_traceback(error)}"


def _keep_traceback(error: Exception) -> str:
    text = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="scff-hw-", suffix=".traceback", delete=False, encoding="utf-8"
        ) as file:
            file.write(text)
    except OSError:
        return f"{DEBUG}=1 shows the traceback."
    return f"the traceback is in {file.name} ({DEBUG}=1 shows it)."
