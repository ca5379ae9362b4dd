from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn import datasets

from scff_hw.data import NAMES, Dataset, Split, data_root, hold_out, info, load, verify
from scff_hw.errors import UsageError


def test_digits_are_bytes_with_every_class_in_both_parts() -> None:
    dataset = load("digits")
    assert dataset.input_shape == (1, 8, 8) and dataset.train.images.dtype == torch.uint8
    assert len(dataset.train) == 1437 and len(dataset.test) == 360
    assert dataset.train.images.max() == 255
    assert dataset.test.labels is not None
    assert all(35 <= count <= 37 for count in dataset.test.labels.bincount().tolist())
    everything = torch.cat([dataset.train.images, dataset.test.images]).flatten(1).numpy()
    stored = np.rint(datasets.load_digits(return_X_y=True)[0] * 255 / 16).astype(np.uint8)
    assert np.array_equal(np.sort(everything, axis=0), np.sort(stored, axis=0))


def test_iris_has_ten_of_each_class_for_the_test() -> None:
    dataset = load("iris")
    assert dataset.input_shape == (4,) and dataset.train.images.dtype == torch.float32
    assert dataset.classes == ("setosa", "versicolor", "virginica")
    assert dataset.test.labels is not None
    assert dataset.test.labels.bincount().tolist() == [10, 10, 10]


@pytest.mark.parametrize("name", ["digits", "iris"])
def test_the_split_is_fixed_and_needs_no_files(name: str, tmp_path: Path) -> None:
    first, second = load(name, tmp_path / "nothing"), load(name)
    assert torch.equal(first.train.images, second.train.images)
    assert verify(name, tmp_path) == []
    assert info(name).bundled


def test_every_data_set_is_described() -> None:
    assert NAMES == ("digits", "iris", "mnist", "fashion-mnist", "kmnist", "cifar10", "stl10", "fsdd")
    for name in NAMES:
        entry = info(name)
        assert entry.name == name and entry.description and entry.licence and entry.source
    assert info("mnist").download_bytes == 9_912_422 + 28_881 + 1_648_877 + 4_542


@pytest.mark.parametrize("function", [load, verify, info])
def test_an_unknown_name_gets_the_nearest(function) -> None:
    with pytest.raises(UsageError, match=r"no data set 'cifar'; .*digits, iris.*did you mean 'cifar10'\?"):
        function("cifar")


def test_where_the_data_live(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SCFF_HW_DATA", str(tmp_path))
    assert data_root(Path("elsewhere")) == Path("elsewhere")
    assert data_root() == tmp_path
    monkeypatch.delenv("SCFF_HW_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert data_root().name == "data" and "scff-hw" in str(data_root())
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data_root("~/x") == tmp_path / "x"


def numbered(count: int) -> Dataset:
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1)
    split = Split(images, torch.arange(count))
    return Dataset("numbers", ("only",), split, split)


def test_held_out_samples_leave_the_training_part() -> None:
    held = hold_out(numbered(50), 12, seed=3)
    assert len(held.test) == 12 and len(held.train) == 38
    assert held.train.labels is not None and held.test.labels is not None
    assert sorted(torch.cat([held.train.labels, held.test.labels]).tolist()) == list(range(50))
    assert torch.equal(held.test.images.flatten().long(), held.test.labels)


def test_holding_out_depends_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = hold_out(numbered(50), 12, seed=3)
    torch.manual_seed(2)
    again, other = hold_out(numbered(50), 12, seed=3), hold_out(numbered(50), 12, seed=4)
    assert torch.equal(first.test.images, again.test.images)
    assert not torch.equal(first.test.images, other.test.images)


@pytest.mark.parametrize("count", [-1, 0, 50, 51])
def test_too_many_or_too_few_to_hold_out(count: int) -> None:
    with pytest.raises(UsageError, match=f"from 1 to 49 for numbers; got {count}"):
        hold_out(numbered(50), count, seed=0)


def test_a_part_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="digits has no part 'unlabelled'; it has: train, test"):
        load("digits").part("unlabelled")
