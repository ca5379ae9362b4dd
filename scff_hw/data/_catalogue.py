"""The data sets there are: those of scff-hw, and those of other packages by entry points of `scff_hw.datasets`.

    RINGS = Info(                                            # in the package's module shop
        "rings", "points on 3 rings, 2 coordinates", "CC0", "the package shop",
        input_shape=(2,), classes=3, load=load_rings,
    )

    [project.entry-points."scff_hw.datasets"]                # in its pyproject.toml
    rings = "shop:RINGS"

Recipes then name it under `data.name`. Nothing here imports torch, so that recipes are checked without it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scff_hw.errors import UsageError, nearest
from scff_hw.registry import Registry

if TYPE_CHECKING:
    from scff_hw.data._files import Verified
    from scff_hw.data._types import Dataset


@dataclass(frozen=True)
class Info:
    """One data set: what it is, and how it is read.

    Attributes:
        download_bytes: 0 for a data set that comes with a package.
        input_shape: of one sample: (channels, height, width) of uint8 images, or (features,) of float32 values; empty
            for recordings of varying length, which only scff-hw's own data set has.
        classes: number of classes.
        load: reads the data set, given the data directory (see `data_root`); None for recordings. Raises DataError for
            data that are missing or damaged.
        verify: checks the files in a folder, and returns what was checked; None for a data set without files.
        folder: of its files, below the data directory.
        unlabelled: it has an unlabelled part.
        comes_with: what holds its samples, where nothing is downloaded.
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
        """Whether the data set needs no download."""
        return self.download_bytes == 0

    @property
    def has_recordings(self) -> bool:
        """Whether the samples are recordings of varying length, read as sequences of frames."""
        return not self.input_shape


def _checked(found: object) -> Info:
    if not isinstance(found, Info):
        raise UsageError(f"A data set must be a scff_hw.data.Info. Got {found!r} instead.")
    if found.name != "fsdd" and not (found.input_shape and found.classes and found.load):
        raise UsageError(f"The data set '{found.name}' must have an input_shape, classes and load.")
    return found


DATASETS: Registry[Info] = Registry(
    "data set",
    _checked,
    {name: f"scff_hw.data._builtin:{name.upper()}" for name in ("digits", "iris", "mnist", "cifar10", "stl10", "fsdd")},
    group="scff_hw.datasets",
)


def dataset_names() -> list[str]:
    """Names of all data sets, those of installed packages included."""
    return DATASETS.names()


def info(name: str) -> Info:
    """The data set of that name.

    Raises:
        UsageError: no such data set, or the entry point of that name gives none.
        PluginError: the package of the data set cannot be imported.
    """
    if name not in DATASETS:
        known = dataset_names()
        raise UsageError(
            f"There is no data set '{name}'; the data sets are {', '.join(known)}{nearest(name, known, '.')}"
        )
    return DATASETS.get(name)
