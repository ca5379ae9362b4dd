"""MNIST in the IDX format of its publisher (LeCun, Cortes and Burges), in the folders of torchvision."""

from __future__ import annotations

import hashlib
import math
import struct
from pathlib import Path

import torch

from scff_hw.data.files import Verified, damaged, missing, read_bytes
from scff_hw.data.types import Dataset, Split

NAME = "mnist"
FOLDER = "MNIST/raw"
IMAGES = {"train": "train-images-idx3-ubyte", "test": "t10k-images-idx3-ubyte"}
LABELS = {"train": "train-labels-idx1-ubyte", "test": "t10k-labels-idx1-ubyte"}
CLASSES = tuple("0123456789")
_SIDE_PX = 28

# MD5 of the unzipped files, so that files may be compressed again or stored uncompressed.
UNZIPPED_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


def parse_idx(dataset: str, path: Path, content: bytearray, dimensions: int) -> torch.Tensor:
    """Return the unsigned bytes of an IDX file as a uint8 tensor with `dimensions` dimensions.

    The format: a big-endian 32-bit magic number, 2048 + dimensions for unsigned bytes; a big-endian 32-bit size per
    dimension; the values, the last dimension changing fastest. Raises DataError for any other `content`.
    """
    header_bytes = 4 * (1 + dimensions)
    if len(content) < header_bytes:
        raise damaged(dataset, path, f"holds {len(content)} bytes", f"its header alone takes {header_bytes}")
    magic, *shape = struct.unpack_from(f">{1 + dimensions}I", content)
    if magic != 2048 + dimensions:
        allowed = f"an IDX file of {dimensions}-dimensional bytes starts with {2048 + dimensions}"
        raise damaged(dataset, path, f"starts with the magic number {magic}", allowed)
    expected = math.prod(shape)
    if expected == 0 or len(content) - header_bytes != expected:
        declared = " x ".join(map(str, shape))
        problem = f"holds {len(content) - header_bytes} bytes of values"
        raise damaged(
            dataset, path, problem, f"its header declares {declared} = {expected}, and at least one is needed"
        )
    return torch.frombuffer(content, dtype=torch.uint8, offset=header_bytes).reshape(shape)


def find(folder: Path, name: str) -> Path:
    """Return the path of MNIST file `name`: with .gz, as stored by `fetch`, else unzipped; raise DataError if none."""
    zipped = folder / f"{name}.gz"
    plain = folder / name
    if zipped.exists():
        return zipped
    if plain.exists():
        return plain
    raise missing(NAME, zipped)


def load(root: Path) -> Dataset:
    """Read MNIST from `root`/MNIST/raw: images uint8 [N, 1, 28, 28], labels int64 [N] in 0..9."""
    folder = root / FOLDER
    return Dataset(NAME, CLASSES, _split(folder, "train"), _split(folder, "test"))


def _split(folder: Path, part: str) -> Split:
    image_path, label_path = find(folder, IMAGES[part]), find(folder, LABELS[part])
    images = parse_idx(NAME, image_path, read_bytes(NAME, image_path), dimensions=3)
    labels = parse_idx(NAME, label_path, read_bytes(NAME, label_path), dimensions=1)
    if images.shape[1:] != (_SIDE_PX, _SIDE_PX):
        problem = f"holds images of {images.shape[1]} x {images.shape[2]} pixels"
        raise damaged(NAME, image_path, problem, f"MNIST images have {_SIDE_PX} x {_SIDE_PX}")
    if len(images) != len(labels):
        allowed = f"{image_path.name} holds {len(images)} images"
        raise damaged(NAME, label_path, f"holds {len(labels)} labels", allowed)
    if labels.max() >= len(CLASSES):
        raise damaged(NAME, label_path, f"holds the label {int(labels.max())}", "MNIST labels are 0 to 9")
    return Split(images.unsqueeze(1), labels.to(torch.int64))


def verify(folder: Path) -> list[Verified]:
    """Compare the four files in `folder`, unzipped, with the published MD5; raise DataError if one differs."""
    verified = []
    for name, published in UNZIPPED_MD5.items():
        path = find(folder, name)
        md5 = hashlib.md5(read_bytes(NAME, path), usedforsecurity=False).hexdigest()
        if md5 != published:
            raise damaged(
                NAME, path, f"unzips to content with MD5 {md5}", f"the published one is {published}"
            )
        verified.append(Verified(path, path.stat().st_size, "MD5 of the unzipped content"))
    return verified
