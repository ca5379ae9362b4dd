"""Result rows as a tidy table, and summarised over seeds."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Sequence
from typing import Any

from scff_hw.studies.point import Row

VALUE = "test_accuracy"
NOT_GROUPED = ("seed", "note", "clipped_weights")
"""Columns by which the rows of a summary are not grouped."""


def as_csv(rows: Sequence[Row]) -> str:
    """Return CSV text with one row per measurement; a column that a row lacks is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _columns(rows), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def summarised(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return per group: mean, sample standard deviation (None for one seed), number of seeds and rows with a note."""
    columns = [column for column in _columns(rows) if column not in (*NOT_GROUPED, VALUE)]
    groups: dict[tuple[Any, ...], list[float]] = {}
    for row in rows:
        groups.setdefault(_key(row, columns), []).append(row[VALUE])
    return [
        dict(zip(columns, key, strict=True))
        | {
            "mean": statistics.mean(values),
            "std": statistics.stdev(values) if len(values) > 1 else None,
            "seeds": len(values),
            "broken": sum(1 for row in rows if row.get("note") and _key(row, columns) == key),
        }
        for key, values in groups.items()
    ]


def values_of(rows: Sequence[Row], **where: Any) -> list[float]:
    """Return the accuracies of the rows with the column values `where`."""
    return [row[VALUE] for row in rows if all(row.get(key, "") == value for key, value in where.items())]


def _columns(rows: Sequence[Row]) -> list[str]:
    columns = list(dict.fromkeys(column for row in rows for column in row if column != VALUE))
    return [*columns, VALUE]


def _key(row: Row, columns: Sequence[str]) -> tuple[Any, ...]:
    return tuple(row.get(column, "") for column in columns)
