import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from scff_hw.data import _fsdd, load, load_fsdd, verify
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
    assert len(verify("fsdd", real_data)) == 1


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
    expect(fsdd_root, path, "not a sound WAV file")


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


def test_verify_asks_for_every_recording(fsdd_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_fsdd, "SPEAKERS", ("george", "theo"))
    monkeypatch.setattr(_fsdd, "TAKES", 7)
    assert "140 recordings" in verify("fsdd", fsdd_root)[0].how
    (fsdd_root / _fsdd.FOLDER / "9_theo_6.wav").unlink()
    with pytest.raises(DataError, match=r"9_theo_6\.wav"):
        verify("fsdd", fsdd_root)
