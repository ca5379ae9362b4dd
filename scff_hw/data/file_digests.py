"""File digests of a data set, recorded by `fetch` and compared by `verify`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from scff_hw.data.files import damaged, missing, unreadable
from scff_hw.files import write_atomic

RECORD = "SHA256SUMS"
"""Name of the digest file in a data set's folder, in the format of `sha256sum`."""


def sha256(dataset: str, path: Path) -> str:
    """Return the SHA-256 digest of a file in hexadecimal; raise DataError if the file is missing or unreadable."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        raise missing(dataset, path) from None
    except OSError as error:
        raise unreadable(path, error) from None


def listing(digests: Mapping[str, str]) -> bytes:
    """Format a SHA256SUMS file, sorted by name, from `digests`: SHA-256 in hexadecimal by file name."""
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items())).encode()


def record(dataset: str, folder: Path) -> None:
    """Write the SHA-256 digests of all files in `folder` to SHA256SUMS in that folder."""
    digests = {path.name: sha256(dataset, path) for path in folder.iterdir() if path.is_file() and path.name != RECORD}
    write_atomic(folder / RECORD, listing(digests))


def matches_record(dataset: str, folder: Path) -> bool:
    """Compare the files of `folder` with its SHA256SUMS; return False if there is no SHA256SUMS, else True.

    Raises DataError for the first file that is missing or differs, and for an invalid SHA256SUMS.
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
        digest = sha256(dataset, folder / name)
        if digest != recorded:
            raise damaged(dataset, folder / name, f"has the SHA-256 digest {digest}", f"{recorded} was fetched")
    return True
