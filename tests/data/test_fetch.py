"""Whole data sets from a local server: folders, checks, repair, full disks, malicious archives."""

import gzip
import hashlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scff_hw.data import cifar as _cifar
from scff_hw.data import fetch, load, load_fsdd, verify
from scff_hw.data import fsdd as _fsdd
from scff_hw.data import idx as _idx
from scff_hw.data import stl as _stl
from scff_hw.data.fetching import SOURCES
from scff_hw.data.unpack import unpack
from scff_hw.errors import BusyError, DataError, DownloadError, UsageError

LIMIT_BYTES = 2_000_000


def get(name: str, root: Path, server, **options) -> Path:
    return fetch(name, root, mirrors=[server.url + "/"], backoff_s=0.001, **options)


def names_in(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


@pytest.fixture
def mnist_server(server, mnist_files, monkeypatch: pytest.MonkeyPatch):
    """A server with the small MNIST; its checksums replace the published ones."""
    zipped, unzipped = {}, {}
    for name, content in mnist_files.contents.items():
        packed = gzip.compress(content, mtime=1)
        server.add(f"{name}.gz", packed)
        zipped[f"{name}.gz"] = hashlib.md5(packed).hexdigest()
        unzipped[name] = hashlib.md5(content).hexdigest()
    monkeypatch.setitem(SOURCES, "mnist", replace(SOURCES["mnist"], files=zipped))
    monkeypatch.setattr(_idx, "MNIST", replace(_idx.MNIST, unzipped_md5=unzipped))
    return server


@pytest.fixture
def cifar_server(server, cifar_root: Path, tar_of, monkeypatch: pytest.MonkeyPatch):
    """A server with the small CIFAR-10 archive; its checksum replaces the published one."""
    folder = cifar_root / _cifar.FOLDER
    members = {f"{_cifar.FOLDER}/{path.name}": path.read_bytes() for path in folder.iterdir()}
    members[f"{_cifar.FOLDER}/batches.meta.txt"] = b"airplane\n"
    archive = tar_of(members)
    server.add("cifar-10-binary.tar.gz", archive)
    files: dict[str, str | None] = {"cifar-10-binary.tar.gz": hashlib.md5(archive).hexdigest()}
    monkeypatch.setitem(SOURCES, "cifar10", replace(SOURCES["cifar10"], files=files))
    monkeypatch.setattr(_cifar, "_RECORDS_PER_FILE", 10)
    known = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    monkeypatch.setattr(_cifar, "FILE_MD5", known)
    return server


@pytest.fixture
def fsdd_members(fsdd_root: Path, publish_fsdd) -> dict[str, bytes]:
    """The members of an archive of the small FSDD, which replaces the published one."""
    publish_fsdd(fsdd_root)
    top = "free-spoken-digit-dataset-1.0.10"
    members = {f"{top}/README.md": b"spoken digits"}
    for path in sorted((fsdd_root / _fsdd.FOLDER).iterdir()):
        members[f"{top}/recordings/{path.name}"] = path.read_bytes()
    return members


def test_every_checksum_and_address_has_the_right_form() -> None:
    assert set(SOURCES) == {"mnist", "fashion-mnist", "kmnist", "cifar10", "stl10", "fsdd"}
    for source in SOURCES.values():
        assert all(base.startswith(("https://", "http://")) for base in source.mirrors)
        for md5 in source.files.values():
            assert md5 is None or (len(md5) == 32 and int(md5, 16) >= 0)


def test_mnist_is_put_where_the_reader_looks(mnist_server, tmp_path: Path) -> None:
    seen: set[str] = set()
    root = tmp_path / "new" / "data"
    assert get("mnist", root, mnist_server, report=lambda name, done, total: seen.add(name)) == root
    assert len(load("mnist", root).train) == 30
    assert seen == set(names_in(root / "MNIST" / "raw")) == set(SOURCES["mnist"].files)


def test_what_is_whole_is_not_downloaded_again(mnist_server, mnist_files, tmp_path: Path) -> None:
    get("mnist", mnist_files.root, mnist_server)
    assert mnist_server.requests == []


def test_only_the_damaged_file_is_downloaded(mnist_server, tmp_path: Path) -> None:
    get("mnist", tmp_path, mnist_server)
    mnist_server.requests.clear()
    damaged = tmp_path / "MNIST" / "raw" / "t10k-images-idx3-ubyte.gz"
    damaged.write_bytes(damaged.read_bytes()[:500])
    get("mnist", tmp_path, mnist_server)
    assert [path for path, _ in mnist_server.requests] == ["/t10k-images-idx3-ubyte.gz"]
    assert len(load("mnist", tmp_path).test) == 20


def test_a_bundled_data_set_needs_nothing(server, tmp_path: Path) -> None:
    assert get("digits", tmp_path / "none", server) == tmp_path / "none"
    assert not (tmp_path / "none").exists() and server.requests == []


def test_an_unknown_name(server, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'mnist'"):
        get("minst", tmp_path, server)


def test_cifar_is_unpacked_and_the_archive_dropped(cifar_server, tmp_path: Path) -> None:
    root = tmp_path / "data"
    get("cifar10", root, cifar_server)
    assert names_in(root) == [_cifar.FOLDER]
    assert len(names_in(root / _cifar.FOLDER)) == 8, "six of images, one of names, one of digests"
    assert len(load("cifar10", root).train) == 50


def test_a_broken_connection_then_an_archive_that_is_already_here(cifar_server, tmp_path: Path) -> None:
    cifar_server.cut_after = [50] * 4
    with pytest.raises(DownloadError, match="the connection ended early"):
        get("cifar10", tmp_path, cifar_server)
    assert (tmp_path / "cifar-10-binary.tar.gz.part").stat().st_size == 200
    get("cifar10", tmp_path, cifar_server)
    assert cifar_server.requests[-1][1] == "bytes=200-"

    shutil.rmtree(tmp_path / _cifar.FOLDER)
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(cifar_server.files["/cifar-10-binary.tar.gz"])
    cifar_server.requests.clear()
    get("cifar10", tmp_path, cifar_server)
    assert cifar_server.requests == [] and len(load("cifar10", tmp_path).test) == 10


def test_a_damaged_folder_is_kept_beside_the_new_one(cifar_server, tmp_path: Path) -> None:
    root = tmp_path / "data"
    for number in range(3):
        get("cifar10", root, cifar_server)
        (root / _cifar.FOLDER / "test_batch.bin").write_bytes(b"damaged")
        (root / _cifar.FOLDER / "my-notes.txt").write_text(str(number))
    kept = [f"{_cifar.FOLDER}.replaced", f"{_cifar.FOLDER}.replaced-2"]
    assert names_in(root) == [_cifar.FOLDER, *kept]
    assert [(root / name / "my-notes.txt").read_text() for name in kept] == ["0", "1"]


def test_fsdd_is_checked_recording_by_recording(server, fsdd_members, tar_of, tmp_path: Path) -> None:
    server.hides_length = True
    server.add("v1.0.10.tar.gz", tar_of(fsdd_members))
    root = tmp_path / "data"
    get("fsdd", root, server)
    assert len(load_fsdd(root)) == 140
    assert names_in(root) == ["free-spoken-digit-dataset"]

    del fsdd_members["free-spoken-digit-dataset-1.0.10/recordings/4_theo_3.wav"]
    server.add("v1.0.10.tar.gz", tar_of(fsdd_members))
    (root / _fsdd.FOLDER / "1_theo_1.wav").unlink()
    with pytest.raises(DownloadError, match=r"does not hold the whole fsdd data set: .*4_theo_3\.wav"):
        get("fsdd", root, server)
    assert len(load_fsdd(root)) == 139, "what was there stays"
    assert names_in(root) == ["free-spoken-digit-dataset", "v1.0.10.tar.gz"]


def test_no_flipped_bit_of_an_archive_without_a_checksum_gets_through(server, fsdd_members, tar_of, tmp_path) -> None:
    archive = tar_of(fsdd_members)
    for position in np.random.default_rng(0).integers(0, len(archive) * 8, 10).tolist():
        flipped = bytearray(archive)
        flipped[position // 8] ^= 1 << position % 8
        server.add("v1.0.10.tar.gz", bytes(flipped))
        root = tmp_path / str(position)
        try:
            get("fsdd", root, server)
        except DownloadError:
            assert not (root / "free-spoken-digit-dataset").exists()
        else:  # a bit of gzip's header that means nothing
            assert position < 80 and verify("fsdd", root)


@pytest.mark.parametrize("place", [-8, -4])
def test_the_checksum_and_the_length_at_the_end_of_an_archive_are_compared(tmp_path: Path, tar_of, place: int) -> None:
    archive = tmp_path / "a.tar.gz"
    content = bytearray(tar_of({"x/a.bin": b"content"}))
    archive.write_bytes(content)
    assert unpack(archive, ("x/*",), tmp_path / "whole", LIMIT_BYTES) == 1
    content[place] ^= 1
    archive.write_bytes(content)
    with pytest.raises(DownloadError, match="cut short or corrupt"):
        unpack(archive, ("x/*",), tmp_path / "damaged", LIMIT_BYTES)


def test_what_was_fetched_is_recorded_and_a_later_change_is_named(server, stl_archive, tmp_path: Path) -> None:
    root = get("stl10", tmp_path / "data", server)
    folder = root / _stl.FOLDER
    assert all(part.how.endswith("SHA256SUMS") for part in verify("stl10", root))
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest

    path = folder / "test_X.bin"
    path.write_bytes(b"?" + path.read_bytes()[1:])
    with pytest.raises(DataError, match=r"test_X\.bin has the SHA-256 digest .*, but .* was fetched"):
        verify("stl10", root)
    assert len(verify("stl10", root, recorded=False)) == 5, "its sizes are right"
    get("stl10", root, server)
    verify("stl10", root)
    (folder / "SHA256SUMS").write_text("no digest")
    with pytest.raises(DataError, match="SHA256SUMS has a line 1 that is no digest"):
        verify("stl10", root)
    (folder / "SHA256SUMS").unlink()
    assert len(verify("stl10", root)) == 5


@pytest.mark.parametrize("kind", ["a large member", "a sparse member", "members that are not wanted"])
def test_an_archive_that_unpacks_without_bound(tmp_path: Path, kind: str) -> None:
    archive = tmp_path / "bomb.tar.gz"
    with tarfile.open(archive, "w:gz") as members:
        member = tarfile.TarInfo("x/other.txt" if kind == "members that are not wanted" else "x/big.bin")
        member.size = 50_000_000
        if kind == "a sparse member":
            # 100 MB of which the archive stores nothing, as GNU tar writes it
            member.size, member.pax_headers = 10, {"GNU.sparse.size": "100000000", "GNU.sparse.map": "99999990,10"}
        members.addfile(member, io.BytesIO(bytes(member.size)))
    assert archive.stat().st_size < 100_000
    with pytest.raises(DownloadError, match=rf"bomb\.tar\.gz cannot .*: it holds more than {LIMIT_BYTES} bytes"):
        unpack(archive, ("x/*.bin",), tmp_path / "out", LIMIT_BYTES)
    assert sum(path.stat().st_size for path in (tmp_path / "out").iterdir()) <= LIMIT_BYTES


def test_an_endless_server_fills_no_disk(server, tmp_path: Path) -> None:
    server.endless = server.hides_length = True
    server.add("v1.0.10.tar.gz", b"")
    with pytest.raises(DownloadError, match="the server sends more than 21000000 bytes"):
        get("fsdd", tmp_path, server)
    assert names_in(tmp_path) == []


def test_two_at_once_one_fetches_and_the_other_names_it(mnist_server, tmp_path: Path) -> None:
    """The second starts while the first has some of the files, then when it has all of them."""
    refusals: list[str] = []

    def meanwhile(name: str, done: int, total: int) -> None:
        if name.startswith("t10k") and not refusals:
            with pytest.raises(BusyError) as caught:
                get("mnist", root, mnist_server)
            refusals.append(str(caught.value))

    root = tmp_path / "data"
    get("mnist", root, mnist_server, report=meanwhile)
    assert f"{root / 'MNIST' / 'raw'} is in use by process {os.getpid()} (" in refusals[0]
    assert len(mnist_server.requests) == 4
    get("mnist", root, mnist_server)
    assert len(mnist_server.requests) == 4
    assert names_in(root) == ["MNIST"]


def test_what_a_killed_fetch_left_is_removed_by_the_next(cifar_server, tmp_path: Path) -> None:
    root = tmp_path / "data"
    killed = subprocess.run([sys.executable, "-c", KILLED_WHILE_UNPACKING, str(root / _cifar.FOLDER)])
    assert killed.returncode == -signal.SIGKILL
    assert [name.endswith(".partial") for name in names_in(root)] == [True]
    get("cifar10", root, cifar_server)
    assert names_in(root) == [_cifar.FOLDER]

    # a data set that came another way needs no part of a download
    for name in ("cifar-10-binary.tar.gz", "cifar-10-binary.tar.gz.part"):
        (root / name).write_bytes(b"begun")
    get("cifar10", root, cifar_server)
    assert names_in(root) == [_cifar.FOLDER]


KILLED_WHILE_UNPACKING = """
import os, signal, sys
from pathlib import Path
from scff_hw.files import partial_folder
with partial_folder(Path(sys.argv[1])) as folder:
    (folder / "data_batch_1.bin").write_bytes(b"some of it")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("keep", [0, 10, 2000])
def test_an_archive_without_a_checksum_cut_short(server, fsdd_members, tar_of, tmp_path, keep: int) -> None:
    server.hides_length = True
    server.add("v1.0.10.tar.gz", tar_of(fsdd_members)[:keep])
    root = tmp_path / "data"
    with pytest.raises(DownloadError, match=r"v1\.0\.10\.tar\.gz cannot be unpacked: it is cut short"):
        get("fsdd", root, server)
    assert [name for name in names_in(root) if name != "v1.0.10.tar.gz"] == []


@pytest.fixture
def stl_archive(server, stl_root: Path, tar_of, monkeypatch: pytest.MonkeyPatch) -> None:
    """The archive of the small STL-10 on the server, instead of the published one."""
    members = {f"{_stl.FOLDER}/{p.name}": p.read_bytes() for p in (stl_root / _stl.FOLDER).iterdir()}
    archive = tar_of(members)
    server.add("stl10_binary.tar.gz", archive)
    files: dict[str, str | None] = {"stl10_binary.tar.gz": hashlib.md5(archive).hexdigest()}
    monkeypatch.setitem(SOURCES, "stl10", replace(SOURCES["stl10"], files=files, unpacked_bytes=len(archive)))
    monkeypatch.setattr(_stl, "_PUBLISHED", {"train_X.bin": 10, "test_X.bin": 20, "unlabeled_X.bin": 5})
    monkeypatch.setattr("scff_hw.data.fetching._check_space", lambda *arguments: None)


def test_stl_is_unpacked(server, stl_archive, tmp_path: Path) -> None:
    get("stl10", tmp_path / "data", server)
    assert len(load("stl10", tmp_path / "data").train) == 10


def test_an_archive_cannot_write_outside_its_folder(tmp_path: Path) -> None:
    archive = tmp_path / "hostile.tar"
    with tarfile.open(archive, "w") as members:
        for name in ("recordings/../../up.wav", "/recordings/root.wav", "x/recordings/good.wav"):
            member = tarfile.TarInfo(name)
            member.size = 4
            members.addfile(member, io.BytesIO(b"data"))
        for name in ("recordings/..", "recordings/.hidden.wav", "recordings/a\\b.wav"):
            members.addfile(tarfile.TarInfo(name), io.BytesIO(b""))
        link = tarfile.TarInfo("recordings/link.wav")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        members.addfile(link)
    folder = tmp_path / "inside" / "folder"
    assert unpack(archive, ("recordings/*.wav",), folder, LIMIT_BYTES) == 2
    assert names_in(folder) == ["good.wav", "root.wav"]
    assert names_in(tmp_path) == ["hostile.tar", "inside"]


def test_too_little_space_is_noticed_before_downloading(server, tmp_path: Path, monkeypatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**10, 0, 10**9))
    with pytest.raises(DownloadError, match=r"stl10 needs 5 765 MB in .*, but only 1 000 MB are free there"):
        get("stl10", tmp_path, server)
    assert server.requests == []


def test_a_disk_that_fills_up(mnist_server, tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "train-images-idx3-ubyte.gz.part").symlink_to("/dev/full")
    with pytest.raises(DownloadError, match=r"mnist could not be stored in .*: the disk is full; free some"):
        get("mnist", tmp_path, mnist_server)
    assert names_in(raw) == ["train-images-idx3-ubyte.gz.part"]


def test_a_file_where_the_directory_should_be(mnist_server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(DownloadError, match=r"mnist could not be stored in .*file: "):
        get("mnist", tmp_path / "file", mnist_server)


def test_ctrl_c_while_unpacking_leaves_nothing_half_written(
    cifar_server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("scff_hw.data.fetching.unpack", interrupt)
        with pytest.raises(KeyboardInterrupt):
            get("cifar10", tmp_path / "data", cifar_server)
    assert names_in(tmp_path / "data") == ["cifar-10-binary.tar.gz"]
    get("cifar10", tmp_path / "data", cifar_server)
    assert names_in(tmp_path / "data") == [_cifar.FOLDER]
