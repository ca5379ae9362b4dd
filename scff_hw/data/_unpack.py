"""Unpack chosen files of a tar archive into one folder."""

from __future__ import annotations

import gzip
import re
import shutil
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from scff_hw.errors import DownloadError

_SAFE_NAME = re.compile(r"\w[\w.-]*")


def unpack(archive: Path, patterns: Sequence[str], folder: Path) -> int:
    """Write the regular files of `archive` (a tar file) whose path matches one of `patterns` to `folder`.

    Only the last part of a member's path is used, and links, devices and unusual names are passed over, so
    that no archive can write outside `folder`. (`tarfile`'s own filter is missing from Python 3.11.0 to
    3.11.3.) Returns how many files were written. Raises DownloadError for an archive that is cut short or
    corrupt.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = 0
    try:
        with tarfile.open(archive) as members:
            for member in members:
                path = PurePosixPath(member.name)
                wanted = any(path.match(pattern) for pattern in patterns)
                if not (wanted and member.isreg() and _SAFE_NAME.fullmatch(path.name)):
                    continue
                source = members.extractfile(member)
                assert source is not None, "a regular file of an archive has content"
                with source, (folder / path.name).open("wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
                written += 1
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DownloadError(f"{archive} cannot be unpacked: it is cut short or corrupt ({error}).") from None
    return written
