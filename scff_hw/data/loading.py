"""Loading and verification of data sets by name; validation splits and smaller images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from scff_hw.data import file_digests as _digests
from scff_hw.data import fsdd as _fsdd
from scff_hw.data.catalogue import Info, info
from scff_hw.data.content_digest import dataset_digest
from scff_hw.data.files import Verified, data_root
from scff_hw.data.types import Dataset, Recordings, Split
from scff_hw.errors import DataError, UsageError


def load(name: str, data_dir: str | Path | None = None) -> Dataset:
    """Read data set `name`: digits, iris, mnist, fashion-mnist, kmnist, cifar10, stl10, or one of another package.

    `data_dir` contains the publishers' files (see `data_root`). Fewer samples than published are accepted, so that a
    subset can be used; `verify` requires all samples. Raises UsageError for an unknown name, and DataError, which names
    the file, the value found and the allowed value, for missing or damaged data.
    """
    return load_entry(info(name), data_dir)


def load_entry(entry: Info, data_dir: str | Path | None = None) -> Dataset:
    """Read the data set of a catalogue entry; see `load`."""
    if entry.load is None:
        name = entry.name
        raise UsageError(f"The data set {name} holds recordings of varying length; read it with load_{name}.")
    dataset = entry.load(data_root(data_dir))
    _check_declared(entry, dataset)
    return replace(dataset, digest=dataset_digest(dataset))


def _check_declared(entry: Info, dataset: Dataset) -> None:
    """Check that a data set has the sample shape and the number of classes of its catalogue entry."""
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

    Raises DataError for missing or damaged data.
    """
    return _fsdd.load(data_root(data_dir))


def verify(name: str, data_dir: str | Path | None = None, *, recorded: bool = True) -> list[Verified]:
    """Check that the files of data set `name` are complete and correct, and return the checked files.

    A bundled data set has no files: []. MNIST, CIFAR-10 and FSDD are compared with known checksums. For STL-10 only the
    archive has a checksum, which `fetch` compares; here, sizes and labels are checked, and with `recorded` also the
    digests recorded by `fetch` (reads 3 GB). Raises UsageError for an unknown name, and DataError for the first missing
    or damaged file.
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
    """Return `dataset` with `count` random training samples as test split and the others as training split.

    Used to tune hyper-parameters without the test set. The choice depends only on `seed`. Raises UsageError unless
    1 <= count < number of training samples.
    """
    total = len(dataset.train)
    if not 1 <= count < total:
        raise UsageError(
            f"The number of samples held out must be from 1 to {total - 1} for {dataset.name}; got {count}."
        )
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
    chosen, remaining = order[:count].sort().values, order[count:].sort().values
    return replace(dataset, train=_subset(dataset.train, remaining), test=_subset(dataset.train, chosen))


def _subset(split: Split, indices: torch.Tensor) -> Split:
    return Split(split.images[indices], None if split.labels is None else split.labels[indices])


def shrink(dataset: Dataset, factor: int) -> Dataset:
    """Return `dataset` with both image axes divided by `factor`; each new pixel is the mean of a square, uint8.

    Raises UsageError unless the data are images and `factor >= 1` divides their height and width.
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
