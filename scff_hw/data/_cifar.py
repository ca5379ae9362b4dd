"""CIFAR-10 in its publisher's binary version (Krizhevsky 2009), as cifar-10-binary.tar.gz unpacks."""

from __future__ import annotations

from pathlib import Path

import torch

from scff_hw.data._files import Verified, damaged, file_size, missing, read_bytes
from scff_hw.data._types import Dataset, Split
from scff_hw.errors import DataError

NAME = "cifar10"
FOLDER = "cifar-10-batches-bin"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FILES = {"train": tuple(f"data_batch_{k}.bin" for k in range(1, 6)), "test": ("test_batch.bin",)}
RECORD_BYTES = 1 + 3 * 32 * 32
_RECORDS_A_FILE = 10_000


def parse_records(path: Path, content: bytearray) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images uint8 [N, 3, 32, 32] and labels int64 [N] of one file.

    A record is one byte of label and 3072 of pixels: red, green and blue planes, row by row. Raises DataError
    if the size is not a whole number of records, or a label is not in 0..9.
    """
    if not content or len(content) % RECORD_BYTES:
        raise damaged(
            NAME, path, f"holds {len(content)} bytes", f"its size must be a multiple of {RECORD_BYTES}"
        )
    records = torch.frombuffer(content, dtype=torch.uint8).view(-1, RECORD_BYTES)
    labels = records[:, 0].to(torch.int64)
    if labels.max() >= len(CLASSES):
        worst = int(labels.argmax())
        found = f"holds the label {int(labels[worst])} in record {worst}"
        raise damaged(NAME, path, found, "CIFAR-10 labels are 0 to 9")
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


def verify(root: Path) -> list[Verified]:
    """Check the six files: 10 000 records each, labels in range, as many images of each class as published.

    The publisher gives a checksum of the archive only; `fetch` compares that one.
    """
    folder = root / FOLDER
    whole = _RECORDS_A_FILE * RECORD_BYTES
    verified = []
    for name in (*FILES["train"], *FILES["test"]):
        path = folder / name
        size = file_size(NAME, path)
        if size != whole:
            raise damaged(NAME, path, f"holds {size} bytes", f"the published file has {whole}")
        verified.append(Verified(path, size, "size, labels and class counts"))
    for names in FILES.values():
        labels = torch.cat([parse_records(folder / n, read_bytes(NAME, folder / n))[1] for n in names])
        counts = labels.bincount(minlength=len(CLASSES)).tolist()
        allowed = len(labels) // len(CLASSES)
        if set(counts) != {allowed}:
            raise DataError(
                f"{folder} ({', '.join(names)}) holds {counts} images of the ten classes, "
                f"but the published files hold {allowed} of each; "
                f"fetch them again with `scff-hw data fetch {NAME}`."
            )
    return verified
