"""Output folders of exporters: written atomically, by one process at a time, with a digest of every file."""

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
    """Lock `out`, which must be free, while the block runs.

    Args:
        as_file: `out` is a file to write, not a folder.

    Raises:
        UsageError: `out` is a folder that is not empty, or a file.
        BusyError: another process exports to `out`.
    """
    check_free(out, as_file=as_file)
    path = _real(out)
    with exclusive(path.parent / f".{path.name}.lock", out):
        check_free(out, as_file=as_file)
        yield


def check_free(out: Path, *, as_file: bool = False) -> None:
    """Refuse an `out` that is not free.

    Raises:
        UsageError: `out` is a folder that is not empty, or a file.
    """
    if as_file and out.exists():
        raise UsageError(f"The file to export to must not exist yet. Got {out} instead.")
    if out.exists() and not out.is_dir():
        raise UsageError(f"The folder to export to must be a folder; {out} is a file.")
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"The folder {out} is not empty; choose another --out.")


@contextmanager
def atomic_folder(out: Path) -> Iterator[Path]:
    """A temporary folder that is renamed to `out` at the end of the block, and removed after an error.

    If `out` is a symbolic link, its target is written.
    """
    with partial_folder(_real(out)) as folder:
        yield folder


@contextmanager
def atomic_file(out: Path) -> Iterator[Path]:
    """A path with the name of `out` in a temporary folder; the file is copied to `out` at the end of the block."""
    with tempfile.TemporaryDirectory(prefix="scff-hw-") as folder:
        yield (file := Path(folder) / out.name)
        write_atomic(out, file.read_bytes())


def _real(out: Path) -> Path:
    try:
        return out.resolve()
    except (OSError, RuntimeError):  # a cycle of links
        raise UsageError(f"The folder to export to must be a folder; {out} is a link that leads nowhere.") from None


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file in a folder, in hexadecimal, by its path in the folder."""
    return {path.relative_to(folder).as_posix(): digest(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal.

    Raises:
        OSError: the file cannot be read.
    """
    return hashlib.sha256(path.read_bytes()).hexdigest()
