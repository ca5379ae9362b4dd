"""How each kind of own data is read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ArraysOptions:
    """Arrays have no options."""


@dataclass(frozen=True)
class TableOptions:
    """How a table is read.

    Attributes:
        label: column of the labels.
        features: columns of the features; empty for all others.
        split: column with "train", "test" or "unlabelled"; None for a split by `OwnSource.test_share`.
        group: column of groups, e.g. subjects, that are in one part only; None for none.
        separator, decimal: separator of columns and decimal mark of a CSV file.
    """

    label: str = "label"
    features: tuple[str, ...] = ()
    split: str | None = None
    group: str | None = None
    separator: str = ","
    decimal: str = "."


@dataclass(frozen=True)
class ImagesOptions:
    """How images are read.

    Attributes:
        size: height and width in pixels, to which images are resized, and cropped at the centre; None if all have one
            size.
        channels: 1 for grey, 3 for colour; None for those of the first image.
    """

    size: tuple[int, ...] | None = None
    channels: int | None = None
