"""Digests of the files of a data set: recorded when they were fetched, compared when they are verified."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from scff_hw.data._files import damaged, missing, unreadable
from scff_hw.files import write_atomic

RECORD = "SHA256SUMS"
"""A file in a data set's folder, one line per file as `sha256sum` writes and checks them."""


def sha256(dataset: str, path: Path) -> str:
    """The SHA-256 digest of a file of `dataset`, in hexadecimal; raises DataError if it is missing or unreadable."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        raise missing(dataset, path) from None
    except OSError as error:
        raise unreadable(path, error) from None


def listing(digests: Mapping[str, str]) -> bytes:
    """Digests by file name as the content of a SHA256SUMS file, sorted by name."""
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items())).encode()


def record(dataset: str, folder: Path) -> None:
    """Write the digests of all files of `folder` to its SHA256SUMS."""
    digests = {path.name: sha256(dataset, path) for path in folder.iterdir() if path.is_file() and path.name != RECORD}
    write_atomic(folder / RECORD, listing(digests))


def matches_record(dataset: str, folder: Path) -> bool:
    """Compare the files of `folder` with its SHA256SUMS; False where it has none.

    Raises DataError for the first file that is missing or differs, and for a record that is not one.
    """
    path = folder / RECORD
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise unreadable(path, error) from None
    except ValueError:
        lines = [""]
    for number, line in enumerate(lines, start=1):
        recorded, separator, name = line.partition("  ")
        if not separator or "/" in name:
            raise damaged(dataset, path, f"has a line {number} that is no digest", "each is a digest and a file name")
        found = sha256(dataset, folder / name)
        if found != recorded:
            raise damaged(dataset, folder / name, f"has the SHA-256 digest {found}", f"{recorded} was fetched")
    return True
