"""Reader of own tables, CSV or Parquet, with one row per sample; uses pandas."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scff_hw.data.own.parts import Array, Parts, Where, encoded, numbers, split_rows
from scff_hw.errors import DataError, MissingPartError, nearest

if TYPE_CHECKING:
    from scff_hw.data.own.options import TableOptions

PARQUET = (".parquet", ".pq")
PART_NAMES = ("train", "test", "unlabelled")


def read_table(path: Path, options: TableOptions, share: float, seed: int) -> Parts:
    """Read a table with a label column, numeric feature columns, and optionally columns for split and groups.

    Without a split column, a test `share` (0..1) of each class is drawn with `seed`.

    Raises:
        DataError: the file is missing or damaged, a column is missing or not numeric, or a value is not allowed.
        MissingPartError: pandas is not installed, or pyarrow for Parquet.
    """
    frame = _frame(path, options)
    columns = [str(name) for name in frame.columns]
    _check_header(path, options)
    special = {"label": options.label, "split": options.split, "group": options.group}
    for key, name in special.items():
        if name is not None and name not in columns:
            raise _no_column(path, columns, key, name, options)
    chosen = options.features or tuple(name for name in columns if name not in special.values())
    for name in chosen:
        if name not in columns:
            raise _no_column(path, columns, "features", name, options)
        if name in special.values():
            raise DataError(
                f"The features of {path} must not be the label, the split or the group. Got '{name}' in "
                "data.table.features instead."
            )
    if len(set(chosen)) < len(chosen):
        raise DataError(f"The features of {path} must be different columns. Got {', '.join(chosen)} instead.")
    if options.group is not None and frame[options.group].isna().any():
        row = int(np.flatnonzero(frame[options.group].isna().to_numpy())[0])
        raise DataError(f"Column {options.group} must have a group in every row. Got none in {path}, row {row + 1}.")
    if not len(frame):
        raise DataError(f"{path} must have at least one row below its header. Got none instead.")
    if len(chosen) < 2:
        raise DataError(
            f"{path} must have at least 2 columns of features. Got {len(chosen)} instead: {', '.join(chosen)}."
        )
    where = _where(path)
    x = _features(frame, chosen, where, options)
    raw = _labels(frame[options.label])
    if options.split is None:
        labels, classes = encoded(raw, where)
        groups = None if options.group is None else frame[options.group].astype(str).to_numpy()
        test = split_rows(labels, groups, share, seed, str(path))
        return Parts(
            {"train": x[~test], "test": x[test]}, {"train": labels[~test], "test": labels[test]}, classes, chosen
        )
    part = frame[options.split].astype(str).to_numpy()
    for row, name in enumerate(part):
        if name not in PART_NAMES:
            raise DataError(
                f"Column {options.split} of {where(row)} must be one of {', '.join(PART_NAMES)}. Got '{name}' instead"
                f"{nearest(name, PART_NAMES, '.')}"
            )
    if options.group is not None:
        _check_groups(frame[options.group].astype(str).to_numpy(), part, path, options.group)
    known = np.flatnonzero(part != "unlabelled")
    labels, classes = encoded(raw[known], lambda row: where(int(known[row])))
    samples = {name: x[part == name] for name in PART_NAMES if (part == name).any()}
    named = part[known]
    split = {name: labels[named == name] for name in ("train", "test")}
    return Parts({name: x[part == name] for name in ("train", "test")} | samples, split, classes, chosen)


def _frame(path: Path, options: TableOptions) -> Any:
    try:
        import pandas as pd
    except ImportError:
        raise MissingPartError("Tables need pandas; type: pip install 'scff-hw[table]'") from None
    try:
        if path.suffix.lower() in PARQUET:
            return pd.read_parquet(path)
        return pd.read_csv(path, sep=options.separator, decimal=options.decimal)
    except FileNotFoundError:
        raise DataError(f"There is no file {path}.") from None
    except ImportError:
        raise MissingPartError("Parquet files need pyarrow; type: pip install 'scff-hw[table]'") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} must be UTF-8 text. Got another encoding instead; save it as UTF-8.") from None
    except (
        ValueError,
        OSError,
        pd.errors.ParserError,
    ) as error:  # pyarrow's errors are subclasses of ValueError, OSError
        text = " ".join(str(error).split())
        raise DataError(
            f"{path} must be a {'Parquet' if path.suffix.lower() in PARQUET else 'CSV'} file. {text}."
        ) from None


def _check_header(path: Path, options: TableOptions) -> None:
    """Refuse a CSV file with two columns of one name, which pandas would rename."""
    if path.suffix.lower() in PARQUET:
        return
    with path.open(newline="", encoding="utf-8-sig") as stream:
        rows = (row for row in csv.reader(stream, delimiter=options.separator) if row)
        header, first = next(rows, []), next(rows, None)
    if first is not None and len(first) > len(header):  # pandas would take the first column as names of rows
        raise DataError(
            f"Every row of {path} must have {len(header)} fields, as its header. Got {len(first)} in row 1 instead."
        )
    for name in header:
        if not name.strip():
            number = header.index(name) + 1
            raise DataError(f"Every column of {path} must have a name. Got column {number} without one.")
        if header.count(name) > 1:
            raise DataError(f"The columns of {path} must have different names. Got '{name}' twice instead.")


def _no_column(path: Path, columns: Sequence[str], key: str, name: str, options: TableOptions) -> DataError:
    if len(columns) == 1 and path.suffix.lower() not in PARQUET:
        for separator in (";", "\t", ","):
            if separator in columns[0] and separator != options.separator:
                shown = "'\\t'" if separator == "\t" else f"'{separator}'"
                return DataError(
                    f"{path} must have its columns separated by data.table.separator, '{options.separator}'. "
                    f"Got one column '{columns[0][:60]}' instead; is the separator {shown}?"
                )
    return DataError(
        f"data.table.{key} must name a column of {path}: {', '.join(columns[:30])}. "
        f"Got '{name}' instead{nearest(name, columns, '.')} Type: --set data.table.{key}=COLUMN"
    )


def _features(frame: Any, chosen: Sequence[str], where: Where, options: TableOptions) -> Array:
    """Return the feature columns as float32 `[N, F]`, filled column by column."""
    x = np.empty((len(frame), len(chosen)), dtype=np.float32)
    for k, name in enumerate(chosen):
        column = frame[name]
        if column.dtype.kind not in "fiub":
            raise _not_numbers(column, name, where, options)
        x[:, k] = numbers(column.to_numpy()[:, None], (name,), where)[:, 0]
    return x


def _not_numbers(column: Any, name: str, where: Where, options: TableOptions) -> DataError:
    import pandas as pd

    converted: Any = pd.to_numeric(column, errors="coerce")
    bad = np.flatnonzero(converted.isna().to_numpy())
    row = int(bad[0]) if len(bad) else 0
    value = column.iloc[row]
    hint = ""
    if isinstance(value, str) and value.replace(",", "", 1).lstrip("+-").isdigit() and options.decimal == ".":
        hint = "; is the decimal mark a comma? Then set data.table.decimal"
    return DataError(
        f"Column {name} must hold numbers, or be left out of data.table.features. "
        f"Got {value!r} in {where(row)} instead{hint}."
    )


def _labels(column: Any) -> Array:
    """Return a label column as numbers, or as objects with None for missing labels."""
    missing = np.flatnonzero(column.isna().to_numpy())
    if column.dtype.kind in "iubf" and not len(missing):
        return column.to_numpy()
    values = column.astype(object).to_numpy().copy()
    if column.dtype.kind == "f":
        values = np.array([int(value) if value % 1 == 0 else value for value in values], dtype=object)
    values[missing] = None
    return values


def _check_groups(groups: Array, part: Array, path: Path, column: str) -> None:
    both = np.intersect1d(groups[part == "train"], groups[part == "test"])
    if len(both):
        raise DataError(
            f"A group in column {column} of {path} must be in one part only. "
            f"Got '{both[0]}' in the training part and in the test part instead."
        )


def _where(path: Path) -> Where:
    """Return a function from the index of a sample to its row, counted from 1 after the header, without blank lines."""
    return lambda row: f"{path}, row {row + 1}"
