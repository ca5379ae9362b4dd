"""CIFAR-10 in its publisher's binary version (Krizhevsky 2009), as unpacked from cifar-10-binary.tar.gz."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from scff_hw.data.files import Verified, damaged, file_size, missing, read_bytes
from scff_hw.data.types import Dataset, Split

NAME = "cifar10"
FOLDER = "cifar-10-batches-bin"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FILES = {"train": tuple(f"data_batch_{k}.bin" for k in range(1, 6)), "test": ("test_batch.bin",)}
RECORD_BYTES = 1 + 3 * 32 * 32
_RECORDS_PER_FILE = 10_000

# MD5 of the unpacked files, computed from them; the publisher gives only that of the archive.
FILE_MD5 = {
    "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
    "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
    "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
    "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
    "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
    "test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d",
}


def parse_records(path: Path, content: bytearray) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images uint8 [N, 3, 32, 32] and labels int64 [N] from `content`, the bytes of one file.

    A record has one label byte and 3072 pixel bytes: red, green and blue planes, row by row. Raises DataError if the
    size is not a multiple of the record size, or a label is not in 0..9.
    """
    if not content or len(content) % RECORD_BYTES:
        raise damaged(
            NAME, path, f"holds {len(content)} bytes", f"its size must be a multiple of {RECORD_BYTES}"
        )
    records = torch.frombuffer(content, dtype=torch.uint8).view(-1, RECORD_BYTES)
    labels = records[:, 0].to(torch.int64)
    if labels.max() >= len(CLASSES):
        worst = int(labels.argmax())
        problem = f"holds the label {int(labels[worst])} in record {worst}"
        raise damaged(NAME, path, problem, "CIFAR-10 labels are 0 to 9")
    return records[:, 1:].reshape(-1, 3, 32, 32), labels


def load(root: Path) -> Dataset:
    """Read `root`/cifar-10-batches-bin: images uint8 [N, 3, 32, 32], labels int64 [N] in 0..9."""
    folder = root / FOLDER
    if not folder.is_dir():
        raise missing(NAME, folder)
    return Dataset(NAME, CLASSES, _split(folder, FILES["train"]), _split(folder, FILES["test"]))


def _split(folder: Path, names: tuple[str, ...]) -> Split:
    parsed = [parse_records(folder / name, read_bytes(NAME, folder / name)) for name in names]
    return Split(torch.cat([images for images, _ in parsed]), torch.cat([labels for _, labels in parsed]))


def verify(folder: Path) -> list[Verified]:
    """Compare the six files in `folder` with their MD5; raise DataError if a file is missing or differs."""
    verified = []
    expected_bytes = _RECORDS_PER_FILE * RECORD_BYTES
    for name in (*FILES["train"], *FILES["test"]):
        path = folder / name
        size = file_size(NAME, path)
        if size != expected_bytes:
            raise damaged(NAME, path, f"holds {size} bytes", f"the published file has {expected_bytes}")
        content = read_bytes(NAME, path)
        parse_records(path, content)
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if md5 != FILE_MD5[name]:
            raise damaged(NAME, path, f"has the MD5 {md5}", f"that of the published file is {FILE_MD5[name]}")
        verified.append(Verified(path, size, "MD5"))
    return verified
