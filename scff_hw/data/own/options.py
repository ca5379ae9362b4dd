"""Reading options per kind of own data: arrays, tables, images."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ArraysOptions:
    """Options of arrays: none."""


@dataclass(frozen=True)
class TableOptions:
    """Options of a table.

    Attributes:
        label: name of the label column.
        features: names of the feature columns; empty for all columns without another role.
        split: name of the column with "train", "test" or "unlabelled"; None for a split by `OwnSource.test_share`.
        group: name of the column with groups, e.g. subjects; samples of a group are in one part only. None for none.
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
    """Options of images.

    Attributes:
        size: (height, width) in pixels; images are resized and cropped at the centre. None: all images must have equal
            sizes.
        channels: 1 for grey, 3 for colour; None for the number of the first image.
    """

    size: tuple[int, ...] | None = None
    channels: int | None = None
