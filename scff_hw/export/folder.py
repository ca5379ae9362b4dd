"""The folder an exporter writes: whole or not there, by one process at a time, with a digest of every file in it."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from scff_hw.errors import UsageError
from scff_hw.files import exclusive, partial_folder

P = ParamSpec("P")
R = TypeVar("R")


def reserves_out(export: Callable[P, R]) -> Callable[P, R]:
    """An exporter whose folder `out` is empty, and nobody else's, from its first line to its last.

    Raises:
        UsageError: `out` is not empty, or a file.
        BusyError: another process exports to it.
    """
    signature = inspect.signature(export)

    @wraps(export)
    def reserved(*args: P.args, **kwargs: P.kwargs) -> R:
        out: Path = signature.bind(*args, **kwargs).arguments["out"]
        _check(out)
        folder = _real(out)
        with exclusive(folder.parent / f".{folder.name}.lock", out):
            _check(out)
            return export(*args, **kwargs)

    return reserved


@contextmanager
def appearing(out: Path) -> Iterator[Path]:
    """A folder that takes the place of `out` at the end, and is removed where something goes wrong.

    Where `out` is a symbolic link, it goes where the link leads.
    """
    with partial_folder(_real(out)) as folder:
        yield folder


def _real(out: Path) -> Path:
    try:
        return out.resolve()
    except (OSError, RuntimeError):  # links that lead to each other
        raise UsageError(f"The folder to export to must be a folder; {out} is a link that leads nowhere.") from None


def _check(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UsageError(f"The folder to export to must be a folder; {out} is a file.")
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"The folder {out} is not empty; choose another --out.")


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file in a folder, in hexadecimal, by its path there."""
    return {path.relative_to(folder).as_posix(): digest(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal.

    Raises:
        OSError: it cannot be read.
    """
    return hashlib.sha256(path.read_bytes()).hexdigest()
