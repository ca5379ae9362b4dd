"""The data directory, and reading of files; every problem raises DataError."""

from __future__ import annotations

import gzip
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from scff_hw.errors import DataError

ENVIRONMENT = "SCFF_HW_DATA"
_CHUNK_BYTES = 1 << 22
# Far above the largest file that is read at once (47 MB), far below the memory of a machine.
_LIMIT_BYTES = 1 << 30


@dataclass(frozen=True)
class Verified:
    """A file or folder that passed `verify`: path, size in bytes, and the kind of check, e.g. "MD5"."""

    path: Path
    size_bytes: int
    how: str


def data_root(data_dir: str | Path | None = None) -> Path:
    """Return the directory of the data sets.

    The directory is `data_dir`, else the environment variable SCFF_HW_DATA, else `scff-hw/data` in the user's cache
    directory. It may not exist.
    """
    if data_dir is not None:
        return Path(data_dir).expanduser()
    if named := os.environ.get(ENVIRONMENT):
        return Path(named).expanduser()
    return platformdirs.user_cache_path("scff-hw") / "data"


def missing(dataset: str, path: Path) -> DataError:
    """Make the error for a missing file or folder of `dataset`."""
    return DataError(
        f"The {dataset} data has no {path}; fetch it with `scff-hw data fetch {dataset}`, "
        f"or name the directory that holds it with --data-dir or ${ENVIRONMENT}."
    )


def damaged(dataset: str, path: Path, found: str, allowed: str) -> DataError:
    """Make the error for a damaged file of `dataset` from the content found and the allowed content."""
    return DataError(f"{path} {found}, but {allowed}; fetch it again with `scff-hw data fetch {dataset}`.")


def unreadable(path: Path, error: OSError) -> DataError:
    """Make the error for an existing file that cannot be read."""
    return DataError(f"{path} cannot be read: {error.strerror or error}.")


def read_bytes(dataset: str, path: Path) -> bytearray:
    """Return the content of `path`, unzipped if its name ends in .gz, as a writable buffer.

    Raises DataError if the file is missing, unreadable, truncated, corrupt, or not gzip despite its name.
    """
    content = bytearray()
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                content += chunk
                if len(content) > _LIMIT_BYTES:
                    raise damaged(
                        dataset,
                        path,
                        f"holds more than {_LIMIT_BYTES} bytes",
                        "no file of the data set is that large",
                    )
    except FileNotFoundError:
        raise missing(dataset, path) from None
    except EOFError:
        found = f"is a truncated gzip file ({path.stat().st_size} bytes)"
        raise damaged(dataset, path, found, "a whole one ends with an end-of-stream marker") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise damaged(
            dataset, path, f"is not a valid gzip file ({error})", "it must unzip without errors"
        ) from None
    except OSError as error:
        raise unreadable(path, error) from None
    return content


def file_size(dataset: str, path: Path) -> int:
    """Return the size of `path` in bytes; raise DataError if `path` is missing or is not a file."""
    if not path.exists():
        raise missing(dataset, path)
    if not path.is_file():
        raise DataError(f"{path} is not a file, but the {dataset} data needs a file there.")
    return path.stat().st_size
