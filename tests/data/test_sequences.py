"""Sequences of features: published split, held-out speaker, cache."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scff_hw.data import AudioAugmentation, Mfcc, Sequences, load_fsdd, load_sequences
from scff_hw.data import audio as _audio
from scff_hw.data import fsdd as _fsdd
from scff_hw.data.sequences import cache_key
from scff_hw.errors import UsageError


def sequences(lengths: list[int], steps: int = 4) -> Sequences:
    features = torch.zeros(len(lengths), steps, 2)
    for k, length in enumerate(lengths):
        features[k, :length] = k + 1
    speakers = tuple("abc"[k % 3] for k in range(len(lengths)))
    return Sequences(
        features,
        torch.tensor(lengths),
        torch.arange(len(lengths)),
        speakers,
        torch.arange(len(lengths)) >= len(lengths) - 2,
        torch.arange(len(lengths)),
    )


def test_the_published_recordings(real_data: Path) -> None:
    found = load_sequences(real_data)
    assert found.features.shape == (3000, 183, 39) and found.features.dtype == torch.float32
    assert len(found.train) == 2700 and len(found.test) == 300
    assert found.test.labels.bincount().tolist() == [30] * 10
    recordings = load_fsdd(real_data)
    for k in (0, 1234, 2999):
        frames = Mfcc()(recordings.waveforms[k], 8000)
        assert int(found.lengths[k]) == len(frames)
        assert torch.equal(found.features[k, : len(frames)], frames) and not found.features[k, len(frames) :].any()
    for speaker in set(found.speakers):
        without = found.leave_out(speaker)
        assert len(without.train) == 2500 and set(without.test.speakers) == {speaker}
        assert speaker not in without.train.speakers


def test_parts_are_padded_to_their_longest() -> None:
    found = sequences([1, 2, 1, 4, 3])
    assert found.train.features.shape == (3, 2, 2) and found.train.lengths.tolist() == [1, 2, 1]
    assert found.test.features.shape == (2, 4, 2) and found.test.labels.tolist() == [3, 4]
    assert found.test.speakers == ("a", "b")
    assert len(found.take(torch.zeros(5, dtype=torch.bool))) == 0


def test_leave_out_names_the_speakers() -> None:
    with pytest.raises(UsageError, match=r"there are: a, b, c\. Got 'd' instead"):
        sequences([1, 2, 3]).leave_out("d")
    alone = sequences([1]).take(torch.ones(1, dtype=torch.bool))
    with pytest.raises(UsageError, match="one of several; there are: a"):
        alone.leave_out("a")


def test_hold_out_never_touches_the_test_part() -> None:
    found = sequences([1, 2, 1, 4, 3])
    held = found.hold_out(1, seed=3)
    assert sorted(held.labels.tolist()) == [0, 1, 2] and len(held.test) == 1 and len(held.train) == 2
    assert torch.equal(held.is_test, found.hold_out(1, seed=3).is_test)
    with pytest.raises(UsageError, match=r"in 1..2. Got 3"):
        found.hold_out(3, seed=0)


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        (torch.tensor([1, 5, 2]), r"in 1..4, the steps there are. Got 5 for sequence 1"),
        (torch.tensor([0, 1, 2]), "Got 0 for sequence 0"),
        (torch.tensor([1, 2]), "must be as many. Got 2"),
        (torch.tensor([1.0, 2.0, 1.0]), r"must be int64 of shape \[3\]. Got torch.float32"),
    ],
)
def test_lengths_that_cannot_be(lengths: torch.Tensor, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace(sequences([1, 2, 3]), lengths=lengths)


def test_other_parts_that_do_not_fit() -> None:
    with pytest.raises(UsageError, match=r"shape \[N, T, F\]. Got \[3, 2\]"):
        replace(sequences([1, 2, 3]), features=torch.zeros(3, 2))
    with pytest.raises(UsageError, match=r"The speakers of 3 sequences must be as many\. Got 1"):
        replace(sequences([1, 2, 3]), speakers=("a",))
    with pytest.raises(UsageError, match="values behind the end"):
        replace(sequences([1, 2, 3]), lengths=torch.tensor([1, 1, 3]))


def test_the_cache_gives_the_same_without_computing(fsdd_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_sequences(fsdd_root)
    assert len(list((fsdd_root / "features").iterdir())) == 1
    monkeypatch.setattr(_audio, "_transform", lambda wanted: pytest.fail("computed again"))
    again = load_sequences(fsdd_root)
    assert torch.equal(first.features, again.features) and torch.equal(first.lengths, again.lengths)


def test_a_damaged_cache_is_made_anew(fsdd_root: Path) -> None:
    first = load_sequences(fsdd_root)
    (path,) = (fsdd_root / "features").iterdir()
    whole = path.read_bytes()
    for content in (b"", whole[:100], whole[: len(whole) // 2], b"no archive"):
        path.write_bytes(content)
        assert torch.equal(load_sequences(fsdd_root).features, first.features)
        assert path.stat().st_size == len(whole)
    np.savez(path, frames=np.zeros((4, 39), np.float32), lengths=np.array([4]))
    assert torch.equal(load_sequences(fsdd_root).features, first.features)
    np.savez(path, frames=np.array([{}], dtype=object), lengths=np.array([4]))
    assert torch.equal(load_sequences(fsdd_root).features, first.features)
    assert [entry.name for entry in (fsdd_root / "features").iterdir()] == [path.name]


def test_a_flipped_bit_of_the_cache_changes_no_features(fsdd_root: Path) -> None:
    for path in (fsdd_root / _fsdd.FOLDER).iterdir():
        if path.name != "3_theo_2.wav":
            path.unlink()
    first = load_sequences(fsdd_root)
    (path,) = (fsdd_root / "features").iterdir()
    whole = path.read_bytes()
    directory = whole.index(b"PK\x01\x02")
    named = [directory + place for place in (8, 10)]  # the flags (encrypted) and the method of compression
    positions = named + np.random.default_rng(0).integers(0, len(whole), 60).tolist()
    for position in positions:
        damaged = bytearray(whole)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        assert torch.equal(load_sequences(fsdd_root).features, first.features), position


def test_where_nothing_can_be_written_features_are_computed_each_time(fsdd_root: Path) -> None:
    (fsdd_root / "features").write_text("a file where the folder should be")
    assert len(load_sequences(fsdd_root)) == 140


def test_every_parameter_and_the_recordings_change_the_key(fsdd_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recordings = load_fsdd(fsdd_root)
    parameters = [
        Mfcc(),
        Mfcc(sample_rate_hz=8000),
        Mfcc(coefficients=20),
        Mfcc(window_samples=512),
        Mfcc(hop_samples=160),
        Mfcc(mels=64),
    ]
    keys = [cache_key(recordings, wanted) for wanted in parameters]
    waves = recordings.waveforms
    moved = (waves[0][:-1], torch.cat([waves[0][-1:], waves[1]]), *waves[2:])
    keys += [
        cache_key(replace(recordings, waveforms=(waves[0] + 1, *waves[1:])), Mfcc()),
        cache_key(replace(recordings, waveforms=moved), Mfcc()),
        cache_key(replace(recordings, sample_rate=16000), Mfcc()),
    ]
    changes = [AudioAugmentation(shift_ms=5), AudioAugmentation(gain_db=5), AudioAugmentation(noise_db=5)]
    keys += [cache_key(recordings, Mfcc(), change) for change in changes]
    keys.append(cache_key(recordings, Mfcc(), changes[0], seed=1))
    monkeypatch.setattr("scff_hw.data.sequences.version", lambda name: "another")
    keys.append(cache_key(recordings, Mfcc()))
    assert len(set(keys)) == len(keys) == 14


def test_augmented_sequences_follow_from_the_seed(fsdd_root: Path) -> None:
    noisy = AudioAugmentation(noise_db=10)
    first, other = load_sequences(fsdd_root, augmentation=noisy), load_sequences(fsdd_root, augmentation=noisy, seed=1)
    cached = load_sequences(fsdd_root, augmentation=noisy)
    assert torch.equal(first.features, cached.features) and torch.equal(first.lengths, other.lengths)
    assert not torch.equal(first.features, other.features)
    assert not torch.equal(first.features, load_sequences(fsdd_root).features)


def test_the_example_of_the_readme(fsdd_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCFF_HW_DATA", str(fsdd_root))
    text = (Path(__file__).parents[2] / "README.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    exec(example, names)
    assert names["features"].shape == (10, 1000) and bool(torch.isfinite(names["features"]).all())
