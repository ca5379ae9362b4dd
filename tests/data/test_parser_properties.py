"""For any bytes, a parser returns a valid result or raises DataError."""

import gzip
import io
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import wavfile

from scff_hw.data.cifar import parse_records
from scff_hw.data.files import read_bytes
from scff_hw.data.fsdd import parse_wav
from scff_hw.data.idx import parse_idx
from scff_hw.errors import DataError

PATH = Path("some-file")
IDX = struct.pack(">IIII", 2051, 5, 4, 3) + bytes(range(60))


def make_wav() -> bytes:
    buffer = io.BytesIO()
    wavfile.write(buffer, 8000, np.arange(40, dtype=np.int16))
    return buffer.getvalue()


WAV = make_wav()


def changed(whole: bytes) -> st.SearchStrategy[bytes]:
    """`whole` with some bytes replaced, then truncated."""
    replacements = st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), max_size=4)

    def apply(arguments: tuple[list[tuple[int, int]], int]) -> bytes:
        content = bytearray(whole)
        for position, value in arguments[0]:
            content[position] = value
        return bytes(content[: arguments[1]])

    return st.tuples(replacements, st.integers(0, len(whole)) | st.just(len(whole))).map(apply)


@given(cut=st.integers(0, len(IDX) - 1))
def test_a_cut_idx_file_is_refused(cut: int) -> None:
    with pytest.raises(DataError, match="some-file"):
        parse_idx("mnist", PATH, bytearray(IDX[:cut]), 3)


@given(content=changed(IDX) | st.binary(max_size=100))
def test_any_idx_bytes(content: bytes) -> None:
    try:
        values = parse_idx("mnist", PATH, bytearray(content), 3)
    except DataError:
        return
    assert values.dtype == torch.uint8 and values.numel() == len(content) - 16


@given(shape=st.lists(st.integers(1, 5), min_size=1, max_size=4), data=st.data())
def test_idx_round_trip(shape: list[int], data: st.DataObject) -> None:
    size = int(np.prod(shape))
    payload = data.draw(st.binary(min_size=size, max_size=size))
    header = struct.pack(f">{1 + len(shape)}I", 2048 + len(shape), *shape)
    values = parse_idx("mnist", PATH, bytearray(header + payload), len(shape))
    assert list(values.shape) == shape and bytes(values.flatten().tolist()) == payload


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gzip") / "file.gz"


@settings(max_examples=200, deadline=None)
@given(content=changed(gzip.compress(IDX, mtime=0)) | st.binary(max_size=100))
def test_any_gzip_bytes(scratch: Path, content: bytes) -> None:
    scratch.write_bytes(content)
    try:
        assert read_bytes("mnist", scratch) in (IDX, b"")
    except DataError as error:
        assert str(scratch) in str(error)


@settings(deadline=None)
@given(cut=st.integers(1, len(gzip.compress(IDX, mtime=0)) - 1))
def test_a_cut_gzip_file_is_refused(scratch: Path, cut: int) -> None:
    scratch.write_bytes(gzip.compress(IDX, mtime=0)[:cut])
    with pytest.raises(DataError):
        read_bytes("mnist", scratch)


@given(size=st.integers(0, 4 * 3073), first=st.integers(0, 255))
def test_any_cifar_size(size: int, first: int) -> None:
    content = bytearray([first] * size)
    if size and size % 3073 == 0 and first <= 9:
        images, labels = parse_records(PATH, content)
        assert images.shape == (size // 3073, 3, 32, 32)
        assert set(labels.tolist()) == {first}
    else:
        with pytest.raises(DataError, match="some-file"):
            parse_records(PATH, content)


@given(cut=st.integers(0, len(WAV) - 1))
def test_a_cut_recording_is_refused(cut: int) -> None:
    with pytest.raises(DataError, match="some-file"):
        parse_wav(PATH, bytearray(WAV[:cut]))


@settings(max_examples=300)
@given(content=changed(WAV) | st.binary(max_size=100).map(lambda tail: WAV[:12] + tail))
def test_any_recording_bytes(content: bytes) -> None:
    try:
        samples = parse_wav(PATH, bytearray(content))
    except DataError as error:
        assert "\n" not in str(error)
        return
    assert samples.dtype == torch.int16 and samples.ndim == 1 and len(samples) > 0
