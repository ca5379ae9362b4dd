import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from scff_hw.data import fsdd as _fsdd
from scff_hw.data import load, load_fsdd, verify
from scff_hw.errors import DataError, UsageError


def test_the_published_recordings(real_data: Path) -> None:
    recordings = load_fsdd(real_data)
    assert len(recordings) == 3000 and recordings.sample_rate == 8000
    assert len(recordings.train) == 2700 and len(recordings.test) == 300
    assert recordings.labels.bincount().tolist() == [300] * 10
    assert recordings.test.labels.bincount().tolist() == [30] * 10
    assert sorted(set(recordings.speakers)) == list(_fsdd.SPEAKERS)
    assert recordings.test.indices.max() == 4 and recordings.train.indices.min() == 5
    assert all(waveform.dtype == torch.int16 and waveform.ndim == 1 for waveform in recordings.waveforms)
    assert verify("fsdd", real_data)[0].how == "SHA-256 of 3000 recordings"


def test_samples_agree_with_another_reader(real_data: Path) -> None:
    recordings = load_fsdd(real_data)
    k = 1234
    name = f"{int(recordings.labels[k])}_{recordings.speakers[k]}_{int(recordings.indices[k])}.wav"
    with wave.open(str(real_data / _fsdd.FOLDER / name)) as stream:
        samples = np.frombuffer(stream.readframes(stream.getnframes()), dtype="<i2")
    assert np.array_equal(recordings.waveforms[k].numpy(), samples)


def test_order_split_and_labels(fsdd_root: Path) -> None:
    recordings = load_fsdd(fsdd_root)
    assert len(recordings) == 140 and len(recordings.test) == 100
    for k, waveform in enumerate(recordings.waveforms):
        digit, take = int(recordings.labels[k]), int(recordings.indices[k])
        assert waveform.tolist() == [100 * digit + take] * (20 + take)
        assert bool(recordings.is_test[k]) == (take <= 4)
    train = recordings.train
    assert [len(waveform) for waveform in train.waveforms[:4]] == [25, 26, 25, 26]
    assert train.speakers[:4] == ("george", "george", "theo", "theo")


def test_load_names_the_function_for_recordings() -> None:
    with pytest.raises(UsageError, match="load_fsdd"):
        load("fsdd")


def test_missing_and_empty(fsdd_root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="scff-hw data fetch fsdd"):
        load_fsdd(tmp_path / "nothing")
    for path in (fsdd_root / _fsdd.FOLDER).iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"holds no \.wav file"):
        load_fsdd(fsdd_root)


def expect(fsdd_root: Path, path: Path, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load_fsdd(fsdd_root)
    assert str(path) in str(caught.value)


def test_damaged_recordings(fsdd_root: Path) -> None:
    path = fsdd_root / _fsdd.FOLDER / "3_theo_2.wav"
    whole = path.read_bytes()
    path.write_bytes(whole[:60])
    expect(fsdd_root, path, "holds 60 bytes, but its header declares 88")
    path.write_bytes(b"")
    expect(fsdd_root, path, "does not start with the header of a WAV file")
    path.write_bytes(whole[:36] + b"junk" + whole[40:])
    expect(fsdd_root, path, "not a valid WAV file")


@pytest.mark.parametrize(
    ("rate", "samples", "found"),
    [
        (16000, np.ones(9, np.int16), "int16 at 16000 Hz"),
        (8000, np.ones(9, np.uint8), "uint8 at 8000 Hz"),
        (8000, np.ones((9, 2), np.int16), r"\[9, 2\] samples"),
        (8000, np.ones(0, np.int16), r"\[0\] samples"),
    ],
)
def test_recordings_of_another_kind(fsdd_root: Path, rate: int, samples: np.ndarray, found: str) -> None:
    path = fsdd_root / _fsdd.FOLDER / "3_theo_2.wav"
    wavfile.write(path, rate, samples)
    expect(fsdd_root, path, f"{found}.* one channel of int16 samples at 8000 Hz")


@pytest.mark.parametrize("name", ["10_theo_1.wav", "theo_1.wav", "1_theo.wav", "1_theo_x.wav"])
def test_a_name_that_says_nothing(fsdd_root: Path, name: str) -> None:
    path = fsdd_root / _fsdd.FOLDER / name
    (fsdd_root / _fsdd.FOLDER / "3_theo_2.wav").rename(path)
    expect(fsdd_root, path, r"\{digit\}_\{speaker\}_\{index\}\.wav")


@pytest.fixture
def published(fsdd_root: Path, publish_fsdd: Callable[[Path], None]) -> Path:
    """The folder of a small FSDD; its digest replaces the published one."""
    publish_fsdd(fsdd_root)
    return fsdd_root


def test_verify_asks_for_every_recording(published: Path) -> None:
    assert verify("fsdd", published)[0].how == "SHA-256 of 140 recordings"
    (published / _fsdd.FOLDER / "9_theo_6.wav").unlink()
    with pytest.raises(DataError, match=r"9_theo_6\.wav"):
        verify("fsdd", published)


def test_verify_notices_one_changed_bit_of_audio(published: Path) -> None:
    path = published / _fsdd.FOLDER / "3_theo_2.wav"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert len(load_fsdd(published)) == 140, "it is a recording all the same"
    with pytest.raises(DataError, match="holds other recordings than were published"):
        verify("fsdd", published)


def test_hidden_files_are_ignored_and_capital_suffixes_are_read(published: Path) -> None:
    folder = published / _fsdd.FOLDER
    before = load_fsdd(published)
    (folder / "._0_theo_0.wav").write_bytes(b"what macOS keeps beside a file")
    (folder / "0_theo_0.wav").rename(folder / "0_theo_0.WAV")
    after = load_fsdd(published)
    assert after.speakers == before.speakers
    assert all(torch.equal(*pair) for pair in zip(after.waveforms, before.waveforms, strict=True))
    verify("fsdd", published)

    (folder / "0_theo_00.wav").write_bytes((folder / "0_theo_0.WAV").read_bytes())
    with pytest.raises(DataError, match=r"0_theo_00\.wav is a second recording beside 0_theo_0\.WAV"):
        load_fsdd(published)


@pytest.mark.parametrize("before_samples", [True, False])
@pytest.mark.parametrize("size", [0, 5, 6])
def test_chunks_that_the_reader_does_not_know_are_skipped(fsdd_root: Path, before_samples: bool, size: int) -> None:
    path = fsdd_root / _fsdd.FOLDER / "3_theo_2.wav"
    whole = path.read_bytes()
    chunk = b"bext" + size.to_bytes(4, "little") + b"\xff" * (size + size % 2)
    place = 36 if before_samples else len(whole)
    declared = (len(whole) + len(chunk) - 8).to_bytes(4, "little")
    path.write_bytes(whole[:4] + declared + whole[8:place] + chunk + whole[place:])
    recordings = load_fsdd(fsdd_root)
    assert [302] * 22 in [waveform.tolist() for waveform in recordings.waveforms]
