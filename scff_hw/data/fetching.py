"""Download, check and unpacking of data sets, into the folders that the readers use."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from scff_hw.data import cifar as _cifar
from scff_hw.data import file_digests as _digests
from scff_hw.data import fsdd as _fsdd
from scff_hw.data import idx as _idx
from scff_hw.data import stl as _stl
from scff_hw.data.catalogue import info
from scff_hw.data.download import Report, checksum_matches, download, no_report
from scff_hw.data.files import data_root
from scff_hw.data.loading import verify, verify_folder
from scff_hw.data.unpack import unpack
from scff_hw.errors import DataError, DownloadError, UsageError
from scff_hw.files import exclusive, partial_folder


@dataclass(frozen=True)
class _Source:
    """Source of a data set: files with MD5 (None: unknown), base URLs, and patterns of archive members to unpack.

    `files` are stored in `folder`. With `unpack_patterns` they are archives: they stay in the data directory until
    unpacked, and the members that match, `unpacked_bytes` in total, are stored in `folder`.
    """

    files: dict[str, str | None]
    mirrors: tuple[str, ...]
    folder: str
    unpack_patterns: tuple[str, ...] = ()
    unpacked_bytes: int = 0


def _idx_source(data: _idx.IdxSet, *mirrors: str) -> _Source:
    return _Source({f"{name}.gz": md5 for name, md5 in data.zipped_md5.items()}, mirrors, data.folder)


# MNIST and its successors, CIFAR-10 and STL-10: checksums published by torchvision. GitHub generates the archive of
# FSDD on demand, without a checksum, so the recordings are compared after unpacking.
SOURCES = {
    "mnist": _idx_source(
        _idx.MNIST,
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        "https://storage.googleapis.com/cvdf-datasets/mnist",
        "http://yann.lecun.com/exdb/mnist",
    ),
    "fashion-mnist": _idx_source(
        _idx.FASHION_MNIST,
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    ),
    "kmnist": _idx_source(_idx.KMNIST, "https://codh.rois.ac.jp/kmnist/dataset/kmnist"),
    "cifar10": _Source(
        {"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"},
        (
            "https://www.cs.toronto.edu/~kriz",
            "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10",
        ),
        _cifar.FOLDER,
        tuple(f"{_cifar.FOLDER}/*.{ending}" for ending in ("bin", "txt", "html")),
        184_400_000,
    ),
    "stl10": _Source(
        {"stl10_binary.tar.gz": "91f7769df0f17e558f3565bffb0c7dfb"},
        ("https://cs.stanford.edu/~acoates/stl10", "http://ai.stanford.edu/~acoates/stl10"),
        _stl.FOLDER,
        tuple(f"{_stl.FOLDER}/*.{ending}" for ending in ("bin", "txt")),
        3_124_300_000,
    ),
    "fsdd": _Source(
        {"v1.0.10.tar.gz": None},
        ("https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags",),
        _fsdd.FOLDER,
        ("recordings/*.wav",),
        21_000_000,
    ),
}


def fetch(
    name: str,
    data_dir: str | Path | None = None,
    report: Report = no_report,
    *,
    mirrors: Sequence[str] | None = None,
    attempts: int = 4,
    backoff_s: float = 1.0,
) -> Path:
    """Download data set `name` into `data_dir` (see `data_root`) unless it is complete there.

    Nothing is downloaded for a bundled data set, or for one that passes `verify`. `report(file, done_bytes,
    total_bytes)` is called as bytes arrive; the total is 0 if the server does not give it. `mirrors` are base URLs
    used instead of the publisher's. An interrupted download resumes, except for FSDD, whose archive has no published
    checksum. Files appear only after they are complete and checked; digests of unpacked files are written to
    SHA256SUMS, which `verify` compares. A folder that fails `verify` is renamed to end in `.replaced`. Downloads and
    unpacked files much larger than published are refused.

    Returns the data directory. Raises UsageError for an unknown name, BusyError where another process fetches the
    same data set into the same directory, and DownloadError if no mirror has the complete data, or writing fails.
    """
    root = data_root(data_dir)
    if info(name).bundled:
        return root
    if (source := SOURCES.get(name)) is None:
        raise UsageError(f"The data set {name} is fetched by the package that brings it, not by scff-hw.")
    if _is_whole(name, root):
        _clear(source, root)
        return root
    bases = source.mirrors if mirrors is None else tuple(mirrors)
    with _disk_errors(name, root), exclusive(root / f".{name}.lock", root / source.folder):
        if _is_whole(name, root):  # fetched by another process in the meantime
            return root
        _check_space(name, root, source)
        download_folder = _download_folder(source, root)
        for file, md5 in source.files.items():
            if md5 is None or not checksum_matches(download_folder / file, md5):
                urls = [f"{base.rstrip('/')}/{file}" for base in bases]
                limit_bytes = _with_margin(info(name).download_bytes)
                download(
                    urls,
                    download_folder / file,
                    md5=md5,
                    report=report,
                    limit_bytes=limit_bytes,
                    attempts=attempts,
                    backoff_s=backoff_s,
                )
            if source.unpack_patterns:
                _unpack_checked(name, source, download_folder / file, root)
        _clear(source, root)
    return root


def _with_margin(size_bytes: int) -> int:
    """Return the upper limit in bytes for a file or archive of published size, since some sizes are rounded."""
    return size_bytes + size_bytes // 4 + 1_000_000


def _is_whole(name: str, root: Path) -> bool:
    try:
        verify(name, root)
    except DataError:
        return False
    return True


def _clear(source: _Source, root: Path) -> None:
    """Remove partial downloads and archives from `root`; the complete data set does not need them."""
    download_folder = _download_folder(source, root)
    for file in source.files:
        with suppress(OSError):
            (download_folder / f"{file}.part").unlink(missing_ok=True)
            if source.unpack_patterns:
                (download_folder / file).unlink(missing_ok=True)


def _download_folder(source: _Source, root: Path) -> Path:
    return root if source.unpack_patterns else root / source.folder


def _unpack_checked(name: str, source: _Source, archive: Path, root: Path) -> None:
    """Unpack `archive` into a temporary folder, check the files, rename the folder, and delete the archive."""
    target = root / source.folder
    try:
        with partial_folder(target) as folder:
            unpack(archive, source.unpack_patterns, folder, _with_margin(source.unpacked_bytes))
            try:
                verify_folder(name, folder)
            except DataError as error:
                raise DownloadError(f"{archive.name} does not hold the whole {name} data set: {error}") from None
            _digests.record(name, folder)
            if target.exists():
                target.rename(_unused(target))
    except BaseException:
        with suppress(OSError):  # remove the parent folder if it is empty
            target.parent.rmdir()
        raise
    archive.unlink()


def _unused(target: Path) -> Path:
    candidate = target.with_name(target.name + ".replaced")
    number = 2
    while candidate.exists():
        candidate = target.with_name(f"{target.name}.replaced-{number}")
        number += 1
    return candidate


def _check_space(name: str, root: Path, source: _Source) -> None:
    download_folder = _download_folder(source, root)
    candidates = [download_folder / (file + ending) for file in source.files for ending in ("", ".part")]
    downloaded = sum(path.stat().st_size for path in candidates if path.is_file())
    needed = info(name).download_bytes - downloaded + source.unpacked_bytes
    free = shutil.disk_usage(root).free
    if free < needed:
        raise DownloadError(
            f"{name} needs {_megabytes(needed)} in {root}, but only {_megabytes(free)} are free there."
        )


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB".replace(",", " ")


@contextmanager
def _disk_errors(name: str, root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            reason = "the disk is full; free some space and run the same command again, which continues"
        else:
            reason = f"{error.filename or root}: {error.strerror or error}"
        raise DownloadError(f"{name} could not be stored in {root}: {reason}.") from None
