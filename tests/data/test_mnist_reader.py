import gzip
import hashlib
import shutil
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from scff_hw.data import idx, info, load, verify
from scff_hw.errors import DataError

TRAIN_IMAGES = "train-images-idx3-ubyte"
TRAIN_LABELS = "train-labels-idx1-ubyte"


def test_the_published_files_hold_what_everybody_knows(real_data: Path) -> None:
    dataset = load("mnist", real_data)
    assert dataset.input_shape == (1, 28, 28)
    assert dataset.train.images.dtype == torch.uint8
    assert dataset.train.images.shape == (60_000, 1, 28, 28)
    assert dataset.test.images.shape == (10_000, 1, 28, 28)
    assert dataset.train.labels is not None and dataset.test.labels is not None
    assert dataset.train.labels.dtype == torch.int64
    assert dataset.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert dataset.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert dataset.train.labels.bincount().tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    assert dataset.test.labels.bincount().tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
    pixels = dataset.train.images.float() / 255
    assert pixels.mean().item() == pytest.approx(0.1307, abs=1e-4)
    assert pixels.std().item() == pytest.approx(0.3081, abs=1e-4)


def test_fashion_mnist_has_the_files_of_mnist(real_data: Path) -> None:
    """In the split of this machine's copy, which is not the publisher's, so it does not verify."""
    dataset = load("fashion-mnist", real_data)
    assert dataset.input_shape == (1, 28, 28) and dataset.classes[9] == "Ankle boot"
    assert (len(dataset.train), len(dataset.test)) == (60_000, 10_000)
    assert dataset.test.labels is not None and dataset.test.labels.bincount().tolist() == [1000] * 10


@pytest.mark.parametrize("name", ["fashion-mnist", "kmnist"])
def test_a_successor_is_read_from_its_own_folder_and_compared_as_it_is_compressed(
    mnist_files, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = mnist_files.root / info(name).folder
    folder.parent.mkdir()
    shutil.copytree(mnist_files.raw, folder)
    assert torch.equal(load(name, mnist_files.root).train.images, load("mnist", mnist_files.root).train.images)
    with pytest.raises(DataError, match=rf"has the MD5 [0-9a-f]{{32}}.*data fetch {name}"):
        verify(name, mnist_files.root)
    published = {path.stem: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    entry = {"fashion-mnist": idx.FASHION_MNIST, "kmnist": idx.KMNIST}[name]
    monkeypatch.setattr(idx, name.upper().replace("-", "_"), replace(entry, zipped_md5=published))
    assert [part.how for part in verify(name, mnist_files.root, recorded=False)] == ["MD5 of the file"] * 4


def test_the_published_files_verify(real_data: Path) -> None:
    assert [entry.path.name for entry in verify("mnist", real_data)] == [
        "train-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte.gz",
        "t10k-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz",
    ]


def test_zipped_and_plain_files_read_alike(mnist_files) -> None:
    zipped = load("mnist", mnist_files.root)
    for name, content in mnist_files.contents.items():
        (mnist_files.raw / f"{name}.gz").unlink()
        mnist_files.write(name, content, zipped=False)
    plain = load("mnist", mnist_files.root)
    assert torch.equal(zipped.train.images, plain.train.images)
    assert torch.equal(zipped.test.images, plain.test.images)
    pixels = np.frombuffer(mnist_files.contents[TRAIN_IMAGES][16:], dtype=np.uint8).reshape(30, 1, 28, 28)
    assert np.array_equal(plain.train.images.numpy(), pixels)


def test_a_data_directory_without_the_data_names_the_file_and_the_command(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load("mnist", tmp_path)
    message = str(caught.value)
    assert str(tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte.gz") in message
    assert "`scff-hw data fetch mnist`" in message
    assert "--data-dir" in message and "$SCFF_HW_DATA" in message


def test_a_missing_directory_reads_like_missing_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="fetch it with"):
        load("mnist", tmp_path / "nowhere")


def expect(mnist_files, *fragments: str) -> None:
    with pytest.raises(DataError) as caught:
        load("mnist", mnist_files.root)
    message = str(caught.value)
    for fragment in (*fragments, "scff-hw data fetch mnist"):
        assert fragment in message
    assert "\n" not in message


def test_a_truncated_gzip_file(mnist_files) -> None:
    path = mnist_files.raw / f"{TRAIN_IMAGES}.gz"
    path.write_bytes(path.read_bytes()[:1000])
    expect(mnist_files, str(path), "truncated gzip file (1000 bytes)")


def test_a_file_that_is_not_gzip(mnist_files) -> None:
    path = mnist_files.raw / f"{TRAIN_IMAGES}.gz"
    path.write_bytes(b"<html>not found</html>")
    expect(mnist_files, str(path), "not a valid gzip file")


def test_a_flipped_byte_inside_gzip(mnist_files) -> None:
    path = mnist_files.raw / f"{TRAIN_IMAGES}.gz"
    content = bytearray(path.read_bytes())
    content[-6] ^= 0xFF
    path.write_bytes(content)
    expect(mnist_files, str(path), "not a valid gzip file")


def test_labels_where_images_should_be(mnist_files) -> None:
    path = mnist_files.write(TRAIN_IMAGES, mnist_files.contents[TRAIN_LABELS])
    expect(mnist_files, str(path), "magic number 2049", "starts with 2051")


def test_a_header_cut_short(mnist_files) -> None:
    mnist_files.write(TRAIN_IMAGES, mnist_files.contents[TRAIN_IMAGES][:10])
    expect(mnist_files, "holds 10 bytes", "header alone takes 16")


@pytest.mark.parametrize("change", [-1, 1])
def test_values_too_few_or_too_many(mnist_files, change: int) -> None:
    content = mnist_files.contents[TRAIN_IMAGES]
    mnist_files.write(TRAIN_IMAGES, content[:-1] if change < 0 else content + b"\0")
    expect(mnist_files, f"holds {30 * 784 + change} bytes of values", "30 x 28 x 28 = 23520")


def test_images_of_another_size(mnist_files) -> None:
    mnist_files.write(TRAIN_IMAGES, struct.pack(">IIII", 2051, 30, 27, 28) + bytes(30 * 27 * 28))
    expect(mnist_files, "27 x 28 pixels", "28 x 28")


def test_fewer_labels_than_images(mnist_files) -> None:
    mnist_files.write(TRAIN_LABELS, struct.pack(">II", 2049, 29) + bytes(29))
    expect(mnist_files, "holds 29 labels", "holds 30 images")


def test_a_label_out_of_range(mnist_files) -> None:
    mnist_files.write(TRAIN_LABELS, struct.pack(">II", 2049, 30) + bytes(29) + b"\x0a")
    expect(mnist_files, "holds the label 10", "0 to 9")


def test_no_images_at_all(mnist_files) -> None:
    mnist_files.write(TRAIN_IMAGES, struct.pack(">IIII", 2051, 0, 28, 28))
    expect(mnist_files, "holds 0 bytes of values", "at least one")


def test_a_folder_where_a_file_should_be(mnist_files) -> None:
    path = mnist_files.raw / f"{TRAIN_IMAGES}.gz"
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError, match="cannot be read"):
        load("mnist", mnist_files.root)


def test_verify_refuses_other_data_of_the_same_form(mnist_files) -> None:
    with pytest.raises(DataError, match="published one is 6bbc9ace898e44ae57da46a324031adb"):
        verify("mnist", mnist_files.root)


def test_verify_takes_the_unzipped_files(real_data: Path, tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for source in (real_data / "MNIST" / "raw").glob("*.gz"):
        with gzip.open(source) as stream, (raw / source.stem).open("wb") as target:
            shutil.copyfileobj(stream, target)
    assert len(verify("mnist", tmp_path)) == 4
