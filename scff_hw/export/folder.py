"""The folder that an exporter writes: whole or not there, with a digest of every file in it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scff_hw.errors import UsageError
from scff_hw.files import partial_folder


def check_out(out: Path) -> None:
    """Refuse a folder that holds something.

    Raises:
        UsageError: it is not empty, or a file.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"The folder to export to must be a folder; {out} is a file.")
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"The folder {out} is not empty; choose another --out.")


@contextmanager
def appearing(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its name at the end, and is removed where something goes wrong."""
    with partial_folder(out.absolute()) as folder:
        yield folder


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file in a folder, in hexadecimal, by its path there."""
    return {path.relative_to(folder).as_posix(): digest(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal.

    Raises:
        OSError: it cannot be read.
    """
    return hashlib.sha256(path.read_bytes()).hexdigest()
