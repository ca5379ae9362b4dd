"""Fixtures: small synthetic files in the publishers' formats, and a local server."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from scff_hw.data import fsdd as _fsdd


def idx_bytes(values: np.ndarray) -> bytes:
    return struct.pack(f">{1 + values.ndim}I", 2048 + values.ndim, *values.shape) + values.tobytes()


@dataclass
class MnistFiles:
    """A small MNIST under `root`: 30 training and 20 test images of random pixels."""

    root: Path
    contents: dict[str, bytes]

    @property
    def raw(self) -> Path:
        return self.root / "MNIST" / "raw"

    def write(self, name: str, content: bytes, zipped: bool = True) -> Path:
        path = self.raw / (f"{name}.gz" if zipped else name)
        path.write_bytes(gzip.compress(content) if zipped else content)
        return path


@pytest.fixture
def mnist_files(tmp_path: Path) -> MnistFiles:
    random = np.random.default_rng(0)
    contents = {}
    for part, count in (("train", 30), ("t10k", 20)):
        images = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        contents[f"{part}-images-idx3-ubyte"] = idx_bytes(images)
        contents[f"{part}-labels-idx1-ubyte"] = idx_bytes(np.arange(count, dtype=np.uint8) % 10)
    files = MnistFiles(tmp_path / "mnist", contents)
    files.raw.mkdir(parents=True)
    for name, content in contents.items():
        files.write(name, content)
    return files


@pytest.fixture
def cifar_root(tmp_path: Path) -> Path:
    """A small CIFAR-10: 10 records in each of the six files; every pixel of a record is its number."""
    folder = tmp_path / "cifar" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for name in [f"data_batch_{k}.bin" for k in range(1, 6)] + ["test_batch.bin"]:
        records = np.zeros((10, 3073), dtype=np.uint8)
        records[:, 0] = np.arange(10)
        records[:, 1:] = np.arange(10)[:, None]
        records.tofile(folder / name)
    return folder.parent


@pytest.fixture
def stl_root(tmp_path: Path) -> Path:
    """A small STL-10: 10 training, 20 test and 5 unlabelled images of random pixels."""
    folder = tmp_path / "stl" / "stl10_binary"
    folder.mkdir(parents=True)
    random = np.random.default_rng(1)
    for part, count in (("train", 10), ("test", 20), ("unlabeled", 5)):
        random.integers(0, 256, (count, 3, 96, 96), dtype=np.uint8).tofile(folder / f"{part}_X.bin")
        if part != "unlabeled":
            (np.arange(count, dtype=np.uint8) % 10 + 1).tofile(folder / f"{part}_y.bin")
    return folder.parent


@pytest.fixture
def fsdd_root(tmp_path: Path) -> Path:
    """A small FSDD: two speakers, ten digits, seven takes, of 20 + take samples."""
    folder = tmp_path / "fsdd" / "free-spoken-digit-dataset" / "recordings"
    folder.mkdir(parents=True)
    for digit in range(10):
        for speaker in ("george", "theo"):
            for take in range(7):
                samples = np.full(20 + take, 100 * digit + take, dtype=np.int16)
                wavfile.write(folder / f"{digit}_{speaker}_{take}.wav", 8000, samples)
    return tmp_path / "fsdd"


@pytest.fixture
def publish_fsdd(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Replace the published FSDD by a small one under `root`: speakers, takes and digest."""

    def publish(root: Path) -> None:
        sums = ""
        for path in sorted((root / _fsdd.FOLDER).iterdir()):
            sums += f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        monkeypatch.setattr(_fsdd, "SPEAKERS", ("george", "theo"))
        monkeypatch.setattr(_fsdd, "TAKES", 7)
        monkeypatch.setattr(_fsdd, "RELEASE_SHA256", hashlib.sha256(sums.encode()).hexdigest())

    return publish


@pytest.fixture
def tar_of() -> Callable[[dict[str, bytes]], bytes]:
    """Create a .tar.gz of members given by path and content."""

    def make(members: dict[str, bytes]) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            for name, content in members.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        return buffer.getvalue()

    return make


@dataclass
class LoopbackServer:
    """Serves `files` by path; tests set its faults.

    `cut_after`: how many bytes of a body each of the next requests gets before the connection ends.
    `endless`: zeros follow the file until the client has enough.
    `statuses`: the HTTP status of each of the next requests, instead of the file.
    """

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    cut_after: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    ignores_range: bool = False
    hides_length: bool = False
    endless: bool = False
    requests: list[tuple[str, str | None]] = field(default_factory=list)

    def add(self, name: str, content: bytes) -> str:
        self.files[f"/{name}"] = content
        return f"{self.url}/{name}"


def _answer(server: LoopbackServer, handler: BaseHTTPRequestHandler) -> None:
    wanted = handler.headers.get("Range")
    server.requests.append((handler.path, wanted))
    if server.statuses:
        return handler.send_error(server.statuses.pop(0))
    if handler.path not in server.files:
        return handler.send_error(404)
    body = server.files[handler.path]
    start = 0
    if wanted and not server.ignores_range:
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start >= len(body):
            return handler.send_error(416)
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
    else:
        handler.send_response(200)
    if not server.hides_length:
        handler.send_header("Content-Length", str(len(body) - start))
    # A careless server declares a zipped file as a zipped transfer; the file must be stored as it is.
    handler.send_header("Content-Encoding", "gzip")
    handler.end_headers()
    end = start + server.cut_after.pop(0) if server.cut_after else len(body)
    handler.wfile.write(body[start:end])
    while server.endless:
        try:
            handler.wfile.write(bytes(1 << 16))
        except OSError:
            return


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _answer(shelf, self)

        def log_message(self, format: str, *args: object) -> None:
            """No log output in tests."""

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    shelf = LoopbackServer(f"http://127.0.0.1:{httpd.server_port}")
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield shelf
    httpd.shutdown()
    thread.join()
    httpd.server_close()
