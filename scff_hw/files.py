"""Atomic writes of files and folders, and folders locked by one process at a time.

Every lock is an advisory `flock` of an open file. The system releases it when its process ends, even by a kill, so
a lock file that remains does not block the next process.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from scff_hw.errors import BusyError

AnyPath = str | os.PathLike[str]
"""Type of a path in the public interface; its functions convert it to `Path` once."""

LOCK = ".lock"
"""Name of the lock file inside a folder."""
_PARTIAL = ".partial"


def path_or_none(path: AnyPath | None) -> Path | None:
    """Return `path` as a `Path`, or None for None."""
    return None if path is None else Path(path)


def write_atomic(path: Path, content: bytes) -> Path:
    """Write `content` to `path` through a temporary file beside it, and return `path`.

    A reader gets the old file or the new one, never a partial one. Parent folders are created; permissions follow
    the umask. Raises OSError if writing fails; the temporary file is then removed.
    """
    with partial_file(path) as temporary, open(temporary, "wb") as file:
        file.write(content)
    return path


@contextmanager
def partial_file(path: Path) -> Iterator[Path]:
    """Yield the path of an empty file beside `path`; it is synced and renamed to `path` if the block does not raise.

    The temporary file is removed if the block raises. Those of killed processes for the same `path` are removed first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, handle = _begin(path, _create_file)
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)


@contextmanager
def partial_folder(path: Path) -> Iterator[Path]:
    """Yield the path of an empty folder beside `path`; it is renamed to `path` if the block does not raise.

    `path` must then be absent or an empty folder. Otherwise as `partial_file`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, handle = _begin(path, _create_folder)
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        os.close(handle)


@contextmanager
def exclusive(lock: Path, protected: Path, *, wait: bool = False) -> Iterator[None]:
    """Lock the file `lock` while the block runs; the file exists only during that time.

    A missing folder is created, and removed again if it is still empty.

    Args:
        protected: path that the lock protects, named in the error message.
        wait: wait until the lock is free instead of raising.

    Raises:
        BusyError: another process has the lock; the message names the process and its command.
    """
    created = not lock.parent.exists()
    handle = _acquired(lock, protected, wait)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        if created:
            with suppress(OSError):
                lock.parent.rmdir()
        os.close(handle)


def is_partial(path: Path) -> bool:
    """Return whether `path` is named as a temporary file or folder of `partial_file` or `partial_folder`."""
    return path.name.startswith(".") and path.name.endswith(_PARTIAL)


def remove_stale(folder: Path) -> None:
    """Remove temporary files and folders of ended processes from `folder`, recursively."""
    for stale in folder.rglob(f".*{_PARTIAL}"):
        _remove_if_stale(stale)


def _acquired(lock: Path, protected: Path, wait: bool) -> int:
    while True:
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # the last owner of the lock removed the folder between the two calls
            continue
        if _locked(handle):
            if _is(handle, lock):
                os.ftruncate(handle, 0)
                os.pwrite(handle, f"process {os.getpid()} ({_command()})".encode(), 0)
                return handle
            os.close(handle)  # the last owner of the lock removed the file between the two calls
            continue
        owner = os.pread(handle, 4096, 0).decode(errors="replace").strip() or "another process"
        os.close(handle)
        if not wait:
            raise BusyError(f"{protected} is in use by {owner}; wait until it ends, or choose another place.")
        time.sleep(0.1)


def _begin(path: Path, create: Callable[[Path], int]) -> tuple[Path, int]:
    """Lock a new temporary file or folder beside `path`; return its path and open descriptor.

    Temporary files and folders of ended processes for the same `path` are removed first.
    """
    for stale in path.parent.glob(f".{_escaped(path.name)}.*{_PARTIAL}"):
        _remove_if_stale(stale)
    while True:
        temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}{_PARTIAL}"
        handle = create(temporary)
        if _locked(handle) and _is(handle, temporary):
            return temporary, handle
        os.close(handle)


def _create_file(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)


def _create_folder(path: Path) -> int:
    path.mkdir()
    return os.open(path, os.O_RDONLY)


def _remove_if_stale(path: Path) -> None:
    """Remove a temporary file or folder whose process has ended; a running process keeps it locked."""
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            if _locked(handle):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        finally:
            os.close(handle)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is(handle: int, path: Path) -> bool:
    """Return whether `path` still names the open file `handle`."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def _escaped(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _command() -> str:
    return " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])[:200] if sys.argv else "python"
