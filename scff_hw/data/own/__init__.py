"""The user's own data: arrays, tables and folders of images, for `data.kind` of a recipe.

    source = OwnSource("table", Path("sensors.csv"), options=TableOptions(label="state"))
    parts = read_own(source)             # NumPy arrays, checked; does not import torch
    dataset = own_dataset(source, "sensors")

Every reader checks all data, and raises DataError for the first problem: one sentence with file, row or column, the
value found and the allowed values.
"""

from __future__ import annotations

from scff_hw.data.own.options import ArraysOptions, ImagesOptions, TableOptions
from scff_hw.data.own.source import KINDS, OwnSource, kind_of, own_dataset, read_own

__all__ = [
    "KINDS",
    "ArraysOptions",
    "ImagesOptions",
    "OwnSource",
    "TableOptions",
    "kind_of",
    "own_dataset",
    "read_own",
]
