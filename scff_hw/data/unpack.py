"""Unpacking of selected files of a tar archive into one folder."""

from __future__ import annotations

import gzip
import io
import re
import shutil
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from scff_hw.errors import DownloadError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_SAFE_NAME = re.compile(r"\w[\w.-]*")
_CHUNK_BYTES = 1 << 20


def unpack(archive: Path, patterns: Sequence[str], folder: Path, limit_bytes: int) -> int:
    """Write the regular files of `archive` (.tar or .tar.gz) whose path matches one of `patterns` to `folder`.

    Only the last part of a member's path is used, and links, devices and unusual names are skipped, so an archive
    cannot write outside `folder`. (Python 3.11.0 to 3.11.3 lack the filter of `tarfile`.) The archive is read to its
    end, beyond the last member, so that gzip compares checksum and length.

    Returns the number of files written. Raises DownloadError for a truncated or corrupt archive, and if the
    uncompressed archive, or its matching files in total, exceed `limit_bytes`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written, left_bytes = 0, limit_bytes
    try:
        with _opened(archive) as content:
            bounded = _Bounded(content, archive, limit_bytes)
            with tarfile.open(fileobj=bounded, mode="r|") as members:
                for member in members:
                    path = PurePosixPath(member.name)
                    matches = any(path.match(pattern) for pattern in patterns)
                    if not (matches and member.isreg() and _SAFE_NAME.fullmatch(path.name)):
                        continue
                    # a sparse member is larger than its data in the archive
                    left_bytes -= member.size
                    if left_bytes < 0:
                        raise _too_large(archive, limit_bytes)
                    source = members.extractfile(member)
                    assert source is not None, "a regular file of an archive has content"
                    with source, (folder / path.name).open("wb") as target:
                        shutil.copyfileobj(source, target, _CHUNK_BYTES)
                    written += 1
            while bounded.read(_CHUNK_BYTES):
                pass
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DownloadError(f"{archive} cannot be unpacked: it is cut short or corrupt ({error}).") from None
    return written


class _Bounded(io.RawIOBase):
    """Read-only stream that raises DownloadError after more than `limit_bytes`."""

    def __init__(self, stream: io.BufferedIOBase, archive: Path, limit_bytes: int) -> None:
        self._stream, self._archive, self._limit_bytes = stream, archive, limit_bytes
        self._done_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        count = self._stream.readinto(buffer)
        self._done_bytes += count
        if self._done_bytes > self._limit_bytes:
            raise _too_large(self._archive, self._limit_bytes)
        return count


def _opened(archive: Path) -> io.BufferedIOBase:
    return gzip.open(archive, "rb") if archive.suffix == ".gz" else archive.open("rb")


def _too_large(archive: Path, limit_bytes: int) -> DownloadError:
    return DownloadError(
        f"{archive} cannot be unpacked: it holds more than {limit_bytes} bytes, and the published files fewer."
    )
