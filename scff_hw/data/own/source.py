"""Path and options of own data; reading of the data, with a cache."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from scff_hw.data.own.options import ArraysOptions, ImagesOptions, TableOptions
from scff_hw.errors import DataError

if TYPE_CHECKING:
    from scff_hw.data.own.parts import Parts
    from scff_hw.data.types import Dataset

Kind = Literal["arrays", "table", "images"]
KINDS: tuple[Kind, ...] = ("arrays", "table", "images")

DEFAULTS: dict[Kind, ArraysOptions | TableOptions | ImagesOptions] = {
    "arrays": ArraysOptions(),
    "table": TableOptions(),
    "images": ImagesOptions(),
}


@dataclass(frozen=True)
class OwnSource:
    """Description of own data.

    Attributes:
        kind: "arrays", "table" or "images".
        path: file or folder of the data.
        options: reading options of this kind; None for its defaults.
        test_share: share of samples in the test part, 0..1, for data without a given split.
        split_seed: seed of the split for data without a given split.
    """

    kind: Kind
    path: Path
    options: ArraysOptions | TableOptions | ImagesOptions | None = None
    test_share: float = 0.2
    split_seed: int = 0


def read_own(source: OwnSource) -> Parts:
    """Read and check own data; a repeated call for unchanged files returns the result from memory.

    Raises:
        DataError: as in `read_arrays`, `read_table`, `read_images` and `checked`.
        MissingPartError: a package for this kind of file is not installed.
    """
    return _read(source, _stamp(source.path))


@lru_cache(maxsize=1)
def _read(source: OwnSource, stamp: tuple[object, ...]) -> Parts:
    from scff_hw.data.own.parts import checked

    path, share, seed = source.path, source.test_share, source.split_seed
    options = source.options or DEFAULTS[source.kind]
    if type(options) is not type(DEFAULTS[source.kind]):
        raise DataError(f"Data of kind {source.kind} must have its own options. Got {options} instead.")
    try:
        match options:
            case TableOptions():
                from scff_hw.data.own.table import read_table

                parts = read_table(path, options, share, seed)
            case ImagesOptions():
                from scff_hw.data.own.images import read_images

                parts = read_images(path, options, share, seed)
            case ArraysOptions():
                from scff_hw.data.own.arrays import read_arrays

                parts = read_arrays(path, share, seed)
    except OSError as error:
        raise DataError(f"{error.filename or path} cannot be read: {error.strerror or error}.") from None
    return checked(parts, str(path))


def _stamp(path: Path) -> tuple[object, ...]:
    """Return size (bytes) and modification time (ns) of every file below `path`, to detect changed files."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    try:
        return tuple((file, file.stat().st_size, file.stat().st_mtime_ns) for file in files)
    except OSError:
        return ()


def own_dataset(source: OwnSource, name: str) -> Dataset:
    """Read own data as a `Dataset` called `name`; errors as in `read_own`."""
    import torch

    from scff_hw.data.types import Dataset, Split

    parts = read_own(source)
    splits = {
        part: Split(torch.from_numpy(samples), torch.from_numpy(parts.labels[part]) if part in parts.labels else None)
        for part, samples in parts.samples.items()
    }
    return Dataset(name, parts.classes, splits["train"], splits["test"], splits.get("unlabelled"), notes=parts.notes)


def kind_of(path: Path) -> Kind:
    """Return the kind of the data at `path`, from the suffix of the file or the files in the folder.

    Raises:
        DataError: `path` does not exist, or its kind is unknown.
    """
    suffix = path.suffix.lower()
    if path.is_dir():
        return "arrays" if any(path.glob("*.npy")) else "images"
    if not path.exists():
        raise DataError(f"There is no file or folder {path}.")
    if suffix in (".npz", ".npy"):
        return "arrays"
    if suffix in (".csv", ".tsv", ".txt", ".parquet", ".pq"):
        return "table"
    raise DataError(
        f"{path} must be an .npz file, a table (.csv, .parquet), or a folder of .npy files or of images per class. "
        f"Got a file '{path.name}' instead."
    )
