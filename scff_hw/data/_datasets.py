"""Load and verify a data set by its name, and hold out samples for validation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from scff_hw.data import _digests, _fsdd
from scff_hw.data._catalogue import Info, info
from scff_hw.data._digest import dataset_digest
from scff_hw.data._files import Verified, data_root
from scff_hw.data._types import Dataset, Recordings, Split
from scff_hw.errors import DataError, UsageError


def load(name: str, data_dir: str | Path | None = None) -> Dataset:
    """Read data set `name`: digits, iris, mnist, cifar10, stl10, or one of another package.

    `data_dir` holds the publishers' files (see `data_root`). Fewer samples than published are accepted, so
    that a part of a data set can be used; `verify` asks for all. Raises UsageError for an unknown name, and
    DataError, which names the file, what was found and what is allowed, for data that is missing or damaged.
    """
    entry = info(name)
    if entry.load is None:
        raise UsageError(f"The data set {name} holds recordings of varying length; read it with load_{name}.")
    dataset = entry.load(data_root(data_dir))
    _check_declared(entry, dataset)
    return replace(dataset, digest=dataset_digest(dataset))


def _check_declared(entry: Info, dataset: Dataset) -> None:
    """Refuse a data set that is not what its entry says, before a network is built for it."""
    shape, classes = dataset.input_shape, len(dataset.classes)
    if (shape, classes) != (entry.input_shape, entry.classes):
        raise DataError(
            f"The data set {entry.name} must have samples of {_size(entry.input_shape)} in {entry.classes} classes, as "
            f"its entry says. Got samples of {_size(shape)} in {classes} classes instead."
        )


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def load_fsdd(data_dir: str | Path | None = None) -> Recordings:
    """Read the Free Spoken Digit Dataset: int16 waveforms, labels, speakers and the publisher's split.

    Raises DataError for data that is missing or damaged.
    """
    return _fsdd.load(data_root(data_dir))


def verify(name: str, data_dir: str | Path | None = None, *, recorded: bool = True) -> list[Verified]:
    """Check that the files of data set `name` are whole, and return what was checked.

    A bundled data set has no files: []. MNIST, CIFAR-10 and the recordings of FSDD are compared with checksums that
    are known. Of STL-10 only the archive has one, which `fetch` compares; the files are checked for their sizes and
    labels, and compared with the digests that `fetch` recorded (`recorded`; it reads 3 GB). Raises UsageError for an
    unknown name, and DataError at the first file that is missing or damaged.
    """
    entry = info(name)
    return [] if entry.verify is None else verify_folder(name, data_root(data_dir) / entry.folder, recorded)


def verify_folder(name: str, folder: Path, recorded: bool = True) -> list[Verified]:
    """Check the files of data set `name` in `folder`; see `verify`."""
    check = info(name).verify
    if check is None:
        return []
    compared = recorded and _digests.matches_record(name, folder)
    verified = check(folder)
    return [replace(part, how=f"{part.how}; {_digests.RECORD}") for part in verified] if compared else verified


def hold_out(dataset: Dataset, count: int, seed: int) -> Dataset:
    """Return `dataset` with `count` random training samples as its test split, the others as training split.

    For choosing hyper-parameters without looking at the test set. The choice depends on `seed` alone. Raises
    UsageError unless 1 <= count < number of training samples.
    """
    total = len(dataset.train)
    if not 1 <= count < total:
        raise UsageError(
            f"The number of samples held out must be from 1 to {total - 1} for {dataset.name}; got {count}."
        )
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
    chosen, kept = order[:count].sort().values, order[count:].sort().values
    return replace(dataset, train=_subset(dataset.train, kept), test=_subset(dataset.train, chosen))


def _subset(split: Split, indices: torch.Tensor) -> Split:
    return Split(split.images[indices], None if split.labels is None else split.labels[indices])


def shrink(dataset: Dataset, factor: int) -> Dataset:
    """Return `dataset` with images smaller by `factor` in both axes, each pixel the mean of a square, uint8.

    Raises UsageError unless the data are images whose height and width `factor >= 1` divides.
    """
    shape = dataset.input_shape
    if len(shape) != 3 or factor < 1 or any(length % factor for length in shape[1:]):
        raise UsageError(
            f"The factor to shrink {dataset.name} by must divide the height and width of images. "
            f"Got {factor} for samples of {' x '.join(map(str, shape))} instead."
        )

    def smaller(split: Split) -> Split:
        wide = split.images.unfold(2, factor, factor).unfold(3, factor, factor)
        sums = wide.sum(dim=(4, 5), dtype=torch.int32)
        means = (2 * sums + factor**2).div(2 * factor**2, rounding_mode="floor")
        return replace(split, images=means.to(torch.uint8))

    parts = {name: split for name in ("train", "test", "unlabelled") if (split := getattr(dataset, name)) is not None}
    return replace(dataset, **{name: smaller(split) for name, split in parts.items()})
