"""What an exporter writes: whole or not there, by one process at a time, with a digest of every file in it."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scff_hw.errors import UsageError
from scff_hw.files import exclusive, partial_folder, write_atomic


@contextmanager
def reserved(out: Path, *, as_file: bool = False) -> Iterator[None]:
    """While the block runs, `out` is free and nobody else exports to it.

    Args:
        as_file: `out` is to become a file, not a folder.

    Raises:
        UsageError: a folder that is not empty, or a file.
        BusyError: another process exports to it.
    """
    check_free(out, as_file=as_file)
    place = _real(out)
    with exclusive(place.parent / f".{place.name}.lock", out):
        check_free(out, as_file=as_file)
        yield


def check_free(out: Path, *, as_file: bool = False) -> None:
    """Refuse what `reserved` refuses.

    Raises:
        UsageError: a folder that is not empty, or a file.
    """
    if as_file and out.exists():
        raise UsageError(f"The file to export to must not exist yet. Got {out} instead.")
    if out.exists() and not out.is_dir():
        raise UsageError(f"The folder to export to must be a folder; {out} is a file.")
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"The folder {out} is not empty; choose another --out.")


@contextmanager
def atomic_folder(out: Path) -> Iterator[Path]:
    """A folder that takes the place of `out` at the end, and is removed where something goes wrong.

    Where `out` is a symbolic link, it goes where the link leads.
    """
    with partial_folder(_real(out)) as folder:
        yield folder


@contextmanager
def atomic_file(out: Path) -> Iterator[Path]:
    """The path of a file of the same name in a temporary folder, which takes the place of `out` at the end."""
    with tempfile.TemporaryDirectory(prefix="scff-hw-") as folder:
        yield (file := Path(folder) / out.name)
        write_atomic(out, file.read_bytes())


def _real(out: Path) -> Path:
    try:
        return out.resolve()
    except (OSError, RuntimeError):  # links that lead to each other
        raise UsageError(f"The folder to export to must be a folder; {out} is a link that leads nowhere.") from None


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file in a folder, in hexadecimal, by its path there."""
    return {path.relative_to(folder).as_posix(): digest(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal.

    Raises:
        OSError: it cannot be read.
    """
    return hashlib.sha256(path.read_bytes()).hexdigest()
