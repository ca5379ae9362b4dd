from pathlib import Path

import numpy as np
import pytest
import torch

from scff_hw.data import Augmentation, Pipeline, load, verify
from scff_hw.data import stl as _stl
from scff_hw.errors import DataError


def test_planes_stored_by_columns_come_out_upright(stl_root: Path) -> None:
    stored = np.fromfile(stl_root / "stl10_binary" / "test_X.bin", dtype=np.uint8).reshape(-1, 3, 96, 96)
    dataset = load("stl10", stl_root)
    assert dataset.input_shape == (3, 96, 96)
    assert dataset.test.images[7, 2, 10, 80] == stored[7, 2, 80, 10]
    assert np.array_equal(dataset.test.images.numpy(), stored.transpose(0, 1, 3, 2))


def test_labels_count_from_zero_and_unlabelled_has_none(stl_root: Path) -> None:
    dataset = load("stl10", stl_root)
    assert dataset.train.labels is not None
    assert dataset.train.labels.tolist() == list(range(10))
    assert dataset.unlabelled is not None
    assert dataset.unlabelled.labels is None
    assert len(dataset.unlabelled) == 5


def test_unlabelled_images_stay_in_the_file_which_is_never_changed(stl_root: Path) -> None:
    path = stl_root / "stl10_binary" / "unlabeled_X.bin"
    before = path.read_bytes()
    unlabelled = load("stl10", stl_root).unlabelled
    assert unlabelled is not None
    unlabelled.images[0] = 3
    assert path.read_bytes() == before


def test_batches_of_the_unlabelled_part(stl_root: Path) -> None:
    dataset = load("stl10", stl_root)
    assert dataset.unlabelled is not None
    pipeline = Pipeline(dataset, "unlabelled")
    batch = pipeline.batch(torch.tensor([4, 1]))
    torch.testing.assert_close(batch, dataset.unlabelled.images[[4, 1]].float() / 255)
    generator = torch.Generator().manual_seed(0)
    cropped = pipeline.batch(torch.tensor([4, 1]), Augmentation(crop_padding_px=12, flip=True), generator)
    assert cropped.shape == (2, 3, 96, 96)


def test_what_is_missing(stl_root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="scff-hw data fetch stl10"):
        load("stl10", tmp_path / "nothing")
    (stl_root / "stl10_binary" / "unlabeled_X.bin").unlink()
    with pytest.raises(DataError, match=r"no .*unlabeled_X\.bin; fetch it with"):
        load("stl10", stl_root)


@pytest.mark.parametrize("size", [0, 27647, 27649])
def test_a_size_that_is_no_multiple_of_an_image(stl_root: Path, size: int) -> None:
    (stl_root / "stl10_binary" / "train_X.bin").write_bytes(bytes(size))
    with pytest.raises(DataError, match=f"holds {size} bytes, but its size must be a multiple of 27648"):
        load("stl10", stl_root)


@pytest.mark.parametrize("label", [0, 11, 255])
def test_a_label_out_of_range(stl_root: Path, label: int) -> None:
    (stl_root / "stl10_binary" / "train_y.bin").write_bytes(bytes([1] * 9 + [label]))
    with pytest.raises(DataError, match=f"holds the label {label}, but STL-10 labels are 1 to 10"):
        load("stl10", stl_root)


def test_fewer_labels_than_images(stl_root: Path) -> None:
    (stl_root / "stl10_binary" / "test_y.bin").write_bytes(bytes([1] * 19))
    with pytest.raises(DataError, match=r"holds 19 labels, but test_X\.bin holds 20 images"):
        load("stl10", stl_root)


def test_a_folder_where_a_file_should_be(stl_root: Path) -> None:
    path = stl_root / "stl10_binary" / "train_X.bin"
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError, match="is not a file"):
        load("stl10", stl_root)


def test_verify_asks_for_all_images(stl_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="holds 10 images, but the published file holds 5000"):
        verify("stl10", stl_root)
    published = {"train_X.bin": 10, "test_X.bin": 20, "unlabeled_X.bin": 5}
    monkeypatch.setattr(_stl, "_PUBLISHED", published)
    assert len(verify("stl10", stl_root)) == 5
