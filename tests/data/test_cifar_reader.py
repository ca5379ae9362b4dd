import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from scff_hw.data import cifar as _cifar
from scff_hw.data import load, verify
from scff_hw.errors import DataError


def test_the_published_files_hold_what_everybody_knows(real_data: Path) -> None:
    dataset = load("cifar10", real_data)
    assert dataset.input_shape == (3, 32, 32)
    assert dataset.classes[0] == "airplane" and dataset.classes[9] == "truck"
    assert dataset.train.images.shape == (50_000, 3, 32, 32)
    assert dataset.test.images.shape == (10_000, 3, 32, 32)
    assert dataset.train.labels is not None and dataset.test.labels is not None
    assert dataset.train.labels.bincount().tolist() == [5000] * 10
    assert dataset.test.labels.bincount().tolist() == [1000] * 10
    means = dataset.train.images.float().mean(dim=(0, 2, 3)) / 255
    assert means.tolist() == pytest.approx([0.4914, 0.4822, 0.4465], abs=2e-3)
    if (real_data / _cifar.FOLDER / "ORIGIN").exists():  # laid out from a copy whose images were JPEG files
        with pytest.raises(DataError, match=r"data_batch_1\.bin has the MD5"):
            verify("cifar10", real_data)
    else:
        assert [part.how for part in verify("cifar10", real_data)] == ["MD5"] * 6


def test_pixels_keep_their_plane_row_and_column(cifar_root: Path) -> None:
    path = cifar_root / _cifar.FOLDER / "data_batch_3.bin"
    record = np.arange(3073) % 251
    record[0] = 4
    record.astype(np.uint8).tofile(path)
    dataset = load("cifar10", cifar_root)
    assert len(dataset.train) == 41
    assert dataset.train.labels is not None and dataset.train.labels[20] == 4
    image = dataset.train.images[20]
    for channel, row, column in ((0, 0, 0), (0, 1, 0), (2, 31, 31), (1, 5, 7)):
        assert image[channel, row, column] == (1 + channel * 1024 + row * 32 + column) % 251


def test_a_missing_folder_and_a_missing_file(cifar_root: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"no .*nothing/cifar-10-batches-bin; fetch it with `scff-hw data fetch"
    ):
        load("cifar10", tmp_path / "nothing")
    (cifar_root / _cifar.FOLDER / "test_batch.bin").unlink()
    with pytest.raises(DataError, match=r"test_batch\.bin; fetch it with `scff-hw data fetch cifar10`"):
        load("cifar10", cifar_root)


@pytest.mark.parametrize("size", [0, 1, 3072, 3074])
def test_a_size_that_is_no_multiple_of_a_record(cifar_root: Path, size: int) -> None:
    (cifar_root / _cifar.FOLDER / "data_batch_2.bin").write_bytes(bytes(size))
    with pytest.raises(DataError, match=rf"data_batch_2\.bin holds {size} bytes, but .* a multiple of 3073"):
        load("cifar10", cifar_root)


def test_a_label_out_of_range(cifar_root: Path) -> None:
    path = cifar_root / _cifar.FOLDER / "data_batch_1.bin"
    content = bytearray(path.read_bytes())
    content[3073 * 6] = 10
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"holds the label 10 in record 6, but CIFAR-10 labels are 0 to 9"):
        load("cifar10", cifar_root)


def test_verify_compares_every_byte_of_every_file(cifar_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="holds 30730 bytes, but the published file has 30730000"):
        verify("cifar10", cifar_root)
    folder = cifar_root / _cifar.FOLDER
    monkeypatch.setattr(_cifar, "_RECORDS_PER_FILE", 10)
    known = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    monkeypatch.setattr(_cifar, "FILE_MD5", known)
    assert len(verify("cifar10", cifar_root)) == 6
    for name, whole in [(path.name, path.read_bytes()) for path in folder.iterdir()]:
        (folder / name).write_bytes(whole[:-1] + b"?")  # the last pixel: sizes, labels and classes are as before
        with pytest.raises(DataError, match=rf"{name} has the MD5 .*, but that of the published file is {known[name]}"):
            verify("cifar10", cifar_root)
        (folder / name).write_bytes(whole)
    (folder / "test_batch.bin").unlink()
    with pytest.raises(DataError, match=r"has no .*test_batch\.bin; fetch it"):
        verify("cifar10", cifar_root)


def test_images_can_be_changed_without_a_warning(cifar_root: Path) -> None:
    dataset = load("cifar10", cifar_root)
    dataset.train.images[0] = 7
    assert torch.equal(load("cifar10", cifar_root).train.images[0], torch.zeros(3, 32, 32, dtype=torch.uint8))
