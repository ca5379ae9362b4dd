"""MNIST and its successors in the IDX format of their publishers, in the folders of torchvision."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from scff_hw.data.files import Verified, damaged, missing, read_bytes
from scff_hw.data.types import Dataset, Split

IMAGES = {"train": "train-images-idx3-ubyte", "test": "t10k-images-idx3-ubyte"}
LABELS = {"train": "train-labels-idx1-ubyte", "test": "t10k-labels-idx1-ubyte"}
SIDE_PX = 28


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


@dataclass(frozen=True)
class IdxSet:
    """A data set of images of 28 x 28 pixels in four IDX files, compressed or not.

    Attributes:
        folder: folder of the files, relative to the data directory.
        classes: names of the classes.
        zipped_md5: MD5 of the compressed files as published, by name without .gz.
        unzipped_md5: MD5 of their contents, so that files may be compressed again; empty if it is not known.
    """

    name: str
    folder: str
    classes: tuple[str, ...]
    zipped_md5: Mapping[str, str]
    unzipped_md5: Mapping[str, str] = field(default_factory=dict)

    def load(self, root: Path) -> Dataset:
        """Read the data set from `root`/`folder`: images uint8 `[N, 1, 28, 28]`, labels int64 `[N]`.

        Raises:
            DataError: a file is missing or damaged.
        """
        folder = root / self.folder
        return Dataset(self.name, self.classes, self._split(folder, "train"), self._split(folder, "test"))

    def verify(self, folder: Path) -> list[Verified]:
        """Compare the four files in `folder` with the published checksums.

        Raises:
            DataError: a file is missing, or differs from the published one.
        """
        return [self._verified(folder, name) for name in self.zipped_md5]

    def _find(self, folder: Path, name: str) -> Path:
        """The path of a file: the compressed one, as stored by `fetch`, else the plain one."""
        zipped, plain = folder / f"{name}.gz", folder / name
        if zipped.exists():
            return zipped
        if plain.exists():
            return plain
        raise missing(self.name, zipped)

    def _verified(self, folder: Path, name: str) -> Verified:
        path = self._find(folder, name)
        if name in self.unzipped_md5:
            published, content, what = self.unzipped_md5[name], read_bytes(self.name, path), "unzipped content"
        elif path.suffix == ".gz":
            published, content, what = self.zipped_md5[name], path.read_bytes(), "file"
        else:
            raise damaged(self.name, path, "is not compressed", f"only {name}.gz has a published checksum")
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if md5 != published:
            found = f"unzips to content with MD5 {md5}" if what == "unzipped content" else f"has the MD5 {md5}"
            raise damaged(self.name, path, found, f"the published one is {published}")
        return Verified(path, path.stat().st_size, f"MD5 of the {what}")

    def _split(self, folder: Path, part: str) -> Split:
        image_path, label_path = self._find(folder, IMAGES[part]), self._find(folder, LABELS[part])
        images = parse_idx(self.name, image_path, read_bytes(self.name, image_path), dimensions=3)
        labels = parse_idx(self.name, label_path, read_bytes(self.name, label_path), dimensions=1)
        title = TITLES[self.name]
        if images.shape[1:] != (SIDE_PX, SIDE_PX):
            problem = f"holds images of {images.shape[1]} x {images.shape[2]} pixels"
            raise damaged(self.name, image_path, problem, f"{title} images have {SIDE_PX} x {SIDE_PX}")
        if len(images) != len(labels):
            allowed = f"{image_path.name} holds {len(images)} images"
            raise damaged(self.name, label_path, f"holds {len(labels)} labels", allowed)
        if labels.max() >= len(self.classes):
            allowed = f"{title} labels are 0 to {len(self.classes) - 1}"
            raise damaged(self.name, label_path, f"holds the label {int(labels.max())}", allowed)
        return Split(images.unsqueeze(1), labels.to(torch.int64))


def _names(*md5: str) -> dict[str, str]:
    """Checksums by file, in the order of torchvision: training images and labels, test images and labels."""
    return dict(zip((IMAGES["train"], LABELS["train"], IMAGES["test"], LABELS["test"]), md5, strict=True))


MNIST = IdxSet(
    "mnist",
    "MNIST/raw",
    tuple("0123456789"),
    _names(
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3",
        "ec29112dd5afa0611ce80d1b7f02629c",
    ),
    _names(
        "6bbc9ace898e44ae57da46a324031adb",
        "a25bea736e30d166cdddb491f175f624",
        "2646ac647ad5339dbf082846283269ea",
        "27ae3e4e09519cfbb04c329615203637",
    ),
)

FASHION_MNIST = IdxSet(
    "fashion-mnist",
    "FashionMNIST/raw",
    ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    _names(
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ),
)

KMNIST = IdxSet(
    "kmnist",
    "KMNIST/raw",
    ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    _names(
        "bdb82020997e1d708af4cf47b453dcf7",
        "e144d726b3acfaa3e44228e80efcd344",
        "5c965bf0a639b31b8f53240b1b52f4d7",
        "7320c461ea6c1c855c0b718fb2a4b134",
    ),
)

TITLES = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST", "kmnist": "Kuzushiji-MNIST"}
"""Names of the data sets in sentences."""
