"""Catalogue of the data sets of scff-hw and of other packages, by the entry point group `scff_hw.datasets`.

    RINGS = Info(                                            # in the package's module shop
        "rings", "points on 3 rings, 2 coordinates", "CC0", "the package shop",
        input_shape=(2,), classes=3, load=load_rings,
    )

    [project.entry-points."scff_hw.datasets"]                # in its pyproject.toml
    rings = "shop:RINGS"

Recipes then select it with `data.name: rings`. This module does not import torch, so recipes are checked without torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scff_hw.errors import UsageError, nearest
from scff_hw.registry import Registry

if TYPE_CHECKING:
    from scff_hw.data.files import Verified
    from scff_hw.data.types import Dataset


@dataclass(frozen=True)
class Info:
    """Catalogue entry of one data set.

    Attributes:
        download_bytes: size of the download; 0 for a bundled data set.
        input_shape: shape of one sample: (channels, height, width) for uint8 images, or (features,) for float32 values;
            empty for recordings of varying length, which only scff-hw's own data set has.
        classes: number of classes.
        load: reads the data set from the data directory (see `data_root`); None for recordings. Raises DataError for
            missing or damaged data.
        verify: checks the files in a folder and returns the checked files; None for a data set without own files.
        folder: folder of the files, relative to the data directory.
        unlabelled: whether there is an unlabelled part.
        comes_with: package that contains a bundled data set.
    """

    name: str
    description: str
    licence: str
    source: str
    download_bytes: int = 0
    input_shape: tuple[int, ...] = ()
    classes: int = 0
    load: Callable[[Path], Dataset] | None = None
    verify: Callable[[Path], list[Verified]] | None = None
    folder: str = ""
    unlabelled: bool = False
    comes_with: str = "its package"

    @property
    def bundled(self) -> bool:
        """Whether no download is needed."""
        return self.download_bytes == 0

    @property
    def has_recordings(self) -> bool:
        """Whether the samples are recordings of varying length, read as sequences of frames."""
        return not self.input_shape


def _checked(entry: object) -> Info:
    if not isinstance(entry, Info):
        raise UsageError(f"A data set must be a scff_hw.data.Info. Got {entry!r} instead.")
    if entry.name != "fsdd" and not (entry.input_shape and entry.classes and entry.load):
        raise UsageError(f"The data set '{entry.name}' must have an input_shape, classes and load.")
    return entry


NAMES = ("digits", "iris", "mnist", "fashion-mnist", "kmnist", "cifar10", "stl10", "fsdd")

DATASETS: Registry[Info] = Registry(
    "data set",
    _checked,
    {name: f"scff_hw.data.entries:{name.upper().replace('-', '_')}" for name in NAMES},
    group="scff_hw.datasets",
)


def dataset_names() -> list[str]:
    """Return the names of all data sets, including those of installed packages."""
    return DATASETS.names()


def info(name: str) -> Info:
    """Return the catalogue entry of data set `name`.

    Raises:
        UsageError: unknown data set, or the entry point does not refer to an `Info`.
        PluginError: the package of the data set cannot be imported.
    """
    if name not in DATASETS:
        known = dataset_names()
        raise UsageError(
            f"There is no data set '{name}'; the data sets are {', '.join(known)}{nearest(name, known, '.')}"
        )
    return DATASETS.get(name)
