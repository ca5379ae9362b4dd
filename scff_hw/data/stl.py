"""STL-10 in its publisher's binary version (Coates, Lee and Ng 2011), as unpacked from stl10_binary.tar.gz."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from scff_hw.data.files import Verified, damaged, file_size, missing, read_bytes, unreadable
from scff_hw.data.types import Dataset, Split

NAME = "stl10"
FOLDER = "stl10_binary"
CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
IMAGE_BYTES = 3 * 96 * 96
_PUBLISHED = {"train_X.bin": 5_000, "test_X.bin": 8_000, "unlabeled_X.bin": 100_000}


def map_images(path: Path) -> torch.Tensor:
    """Return the images of one file as uint8 [N, 3, 96, 96], a memory-mapped view of the file.

    The colour planes are stored column by column, so the view swaps height and width. Writing to the tensor does not
    change the file. Raises DataError if the file size is not a multiple of the image size.
    """
    size = file_size(NAME, path)
    if size == 0 or size % IMAGE_BYTES:
        raise damaged(NAME, path, f"holds {size} bytes", f"its size must be a multiple of {IMAGE_BYTES}")
    try:
        stored = np.memmap(path, dtype=np.uint8, mode="c")
    except OSError as error:
        raise unreadable(path, error) from None
    return torch.from_numpy(stored).view(-1, 3, 96, 96).transpose(2, 3)


def load(root: Path) -> Dataset:
    """Read `root`/stl10_binary: images uint8 [N, 3, 96, 96], labels int64 [N] in 0..9 (stored as 1..10).

    The unlabelled images (2.8 GB) are memory-mapped and read per batch.
    """
    folder = root / FOLDER
    if not folder.is_dir():
        raise missing(NAME, folder)
    unlabelled = Split(map_images(folder / "unlabeled_X.bin"), None)
    return Dataset(NAME, CLASSES, _split(folder, "train"), _split(folder, "test"), unlabelled)


def _split(folder: Path, part: str) -> Split:
    images = map_images(folder / f"{part}_X.bin").contiguous()
    return Split(images, _labels(folder / f"{part}_y.bin", len(images)))


def _labels(path: Path, count: int) -> torch.Tensor:
    content = read_bytes(NAME, path)
    if len(content) != count:
        images = path.name.replace("_y", "_X")
        raise damaged(NAME, path, f"holds {len(content)} labels", f"{images} holds {count} images")
    labels = torch.frombuffer(content, dtype=torch.uint8).to(torch.int64) - 1
    outside = (labels < 0) | (labels >= len(CLASSES))
    if outside.any():
        problem = f"holds the label {int(labels[outside][0]) + 1}"
        raise damaged(NAME, path, problem, "STL-10 labels are 1 to 10")
    return labels


def verify(folder: Path) -> list[Verified]:
    """Check the five files in `folder`: number of images and labels as published, labels in range.

    The publisher gives only the checksum of the archive; `fetch` compares it and records digests of the files.
    """
    verified = []
    for name, count in _PUBLISHED.items():
        path = folder / name
        images = len(map_images(path))
        if images != count:
            raise damaged(NAME, path, f"holds {images} images", f"the published file holds {count}")
        verified.append(Verified(path, count * IMAGE_BYTES, "size"))
    for part in ("train", "test"):
        path = folder / f"{part}_y.bin"
        _labels(path, _PUBLISHED[f"{part}_X.bin"])
        verified.append(Verified(path, path.stat().st_size, "size and labels"))
    return verified
