"""Files and folders that are either whole or not there, and folders that one process uses at a time.

Every lock here is an advisory `flock` of an open file: the system releases it when its process ends, however that ends,
so nothing a killed process leaves behind keeps the next one out.
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

LOCK = ".lock"
"""Name of a folder's lock file, for a folder that is locked from inside."""
_PARTIAL = ".partial"


def write_atomic(path: Path, content: bytes) -> Path:
    """Write `content` to `path` through a temporary file beside it, and return `path`.

    A reader sees the old file or the new one, never half of one. Parent folders are made; permissions follow the umask.
    Raises OSError where the disk refuses; the temporary file is then removed.
    """
    with partial_file(path) as temporary, open(temporary, "wb") as file:
        file.write(content)
    return path


@contextmanager
def partial_file(path: Path) -> Iterator[Path]:
    """An empty file beside `path` that takes its name, synced to disk, when the block ends without an exception.

    It is removed where the block raises. What an earlier process left of the same file when it was killed is removed.
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
    """An empty folder beside `path` that takes its name when the block ends without an exception.

    `path` must not exist by then, or be an empty folder. As `partial_file` otherwise.
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
def exclusive(lock: Path, place: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock file `lock` while the block runs; the file exists only while it is held.

    Its folder is made where it is missing, and removed again if nothing was put into it.

    Args:
        place: what it protects, for the message.
        wait: until it is free, instead of raising.

    Raises:
        BusyError: another process holds it; the message names the process and its command.
    """
    made = not lock.parent.exists()
    handle = _acquired(lock, place, wait)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        if made:
            with suppress(OSError):
                lock.parent.rmdir()
        os.close(handle)


def is_partial(path: Path) -> bool:
    """Whether a path is named as a temporary file or folder of `partial_file` and `partial_folder`."""
    return path.name.startswith(".") and path.name.endswith(_PARTIAL)


def remove_stale(folder: Path) -> None:
    """Remove the temporaries of processes that ended from a folder, and from the folders in it."""
    for left in folder.rglob(f".*{_PARTIAL}"):
        _remove_if_stale(left)


def _acquired(lock: Path, place: Path, wait: bool) -> int:
    while True:
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # its last holder removed the folder between the two calls
            continue
        if _locked(handle):
            if _is(handle, lock):
                os.ftruncate(handle, 0)
                os.pwrite(handle, f"process {os.getpid()} ({_command()})".encode(), 0)
                return handle
            os.close(handle)  # its last holder removed it between the two calls
            continue
        holder = os.pread(handle, 4096, 0).decode(errors="replace").strip() or "another process"
        os.close(handle)
        if not wait:
            raise BusyError(f"{place} is in use by {holder}; wait until it ends, or choose another place.")
        time.sleep(0.1)


def _begin(path: Path, create: Callable[[Path], int]) -> tuple[Path, int]:
    """A new locked temporary beside `path`, after those of processes that ended were removed."""
    for left in path.parent.glob(f".{_escaped(path.name)}.*{_PARTIAL}"):
        _remove_if_stale(left)
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
    """Remove a temporary whose maker has ended; one that is being written is locked by it."""
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
    """Whether `path` still names the open file."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def _escaped(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _command() -> str:
    return " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])[:200] if sys.argv else "python"
