"""Rows of results as curves, and as the panels of a grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from scff_hw.report import Curve, Panel
from scff_hw.studies.point import FIXED_POINT, Row
from scff_hw.studies.request import Request
from scff_hw.studies.table import values_of

FLOAT = ("float", "float-untrained")
"""Methods that no hardware has a part in."""


class Line(NamedTuple):
    """A curve of a study.

    Attributes:
        role: a colour of the theme, as `Curve` has it.
        style: number of the line's style, 0 solid.
        where: column values that select its rows, without those of the grid points.
    """

    name: str
    role: str
    style: int
    where: Mapping[str, str]


def curves(lines: Sequence[Line], rows: Sequence[Row], grid_points: Sequence[Mapping[str, Any]]) -> tuple[Curve, ...]:
    """The lines that have values: at each place, told by its columns; float is at no place and holds for all."""
    found = []
    for name, role, style, where in lines:
        at = [{}] if where["method"] in FLOAT else grid_points
        values = tuple(tuple(values_of(rows, **where, **place)) for place in at)
        if any(values):
            found.append(Curve(name, role, values, style))
    return tuple(found)


def grid_panels(request: Request, lines: Sequence[Line], rows: Sequence[Row]) -> list[Panel]:
    """Accuracy over the first varied key; a panel for each combination of the others."""
    first, *others = request.keys or ("",)
    found = []
    for combination in dict.fromkeys(tuple(variant.values[key] for key in others) for variant in request.variants):
        fixed = dict(zip(others, combination, strict=True))
        ticks = tuple(dict.fromkeys(v.values[first] for v in request.variants)) if first else (request.hardware,)
        grid_points = [fixed | ({first: tick} if first else {}) for tick in ticks]
        title = ", ".join(f"{_short(key)} {value}" for key, value in fixed.items())
        x = _short(first) or ("profile" if request.profile else "hardware")
        found.append(Panel(title, x, ticks, curves(lines, rows, grid_points), tick_positions(ticks)))
    return found


def tick_positions(ticks: Sequence[str]) -> tuple[float, ...] | None:
    """Where values with one unit stand on an axis; None where some are not numbers, or have other units."""
    parts = [tick.partition(" ") for tick in ticks]
    try:
        found = tuple(float(number) for number, _, _ in parts)
    except ValueError:
        return None
    return found if len({unit for _, _, unit in parts}) == 1 and len(set(found)) > 1 else None


def _short(key: str) -> str:
    """A varied key as panels name it."""
    return key.removeprefix(f"{FIXED_POINT}.")
