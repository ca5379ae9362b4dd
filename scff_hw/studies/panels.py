"""Turns result rows into curves, and into the panels of a grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from scff_hw.report import Curve, Panel
from scff_hw.studies.point import FIXED_POINT, Row
from scff_hw.studies.request import Request
from scff_hw.studies.table import values_of

FLOAT = ("float", "float-untrained")
"""Methods that do not depend on the hardware."""


class Line(NamedTuple):
    """Definition of one curve in the plots of a study.

    Attributes:
        role: a colour of the theme, as in `Curve`.
        style: number of the line's style, 0 solid.
        where: column values that select the curve's rows, besides those of the grid points.
    """

    name: str
    role: str
    style: int
    where: Mapping[str, str]


def curves(lines: Sequence[Line], rows: Sequence[Row], grid_points: Sequence[Mapping[str, Any]]) -> tuple[Curve, ...]:
    """Return one curve per line that has rows, with values per grid point; float baselines have one for all points.

    Args:
        grid_points: column values that identify each grid point.
    """
    drawn = []
    for name, role, style, where in lines:
        at = [{}] if where["method"] in FLOAT else grid_points
        values = tuple(tuple(values_of(rows, **where, **place)) for place in at)
        if any(values):
            drawn.append(Curve(name, role, values, style))
    return tuple(drawn)


def grid_panels(request: Request, lines: Sequence[Line], rows: Sequence[Row]) -> list[Panel]:
    """Return plots of accuracy over the first varied key, one panel per combination of the other keys' values."""
    first, *others = request.keys or ("",)
    panels = []
    for combination in dict.fromkeys(tuple(variant.values[key] for key in others) for variant in request.variants):
        fixed = dict(zip(others, combination, strict=True))
        ticks = tuple(dict.fromkeys(v.values[first] for v in request.variants)) if first else (request.hardware,)
        grid_points = [fixed | ({first: tick} if first else {}) for tick in ticks]
        title = ", ".join(f"{_short(key)} {value}" for key, value in fixed.items())
        x = _short(first) or ("profile" if request.profile else "hardware")
        panels.append(Panel(title, x, ticks, curves(lines, rows, grid_points), tick_positions(ticks)))
    return panels


def tick_positions(ticks: Sequence[str]) -> tuple[float, ...] | None:
    """Return the axis positions of values with a common unit; None if some are not numbers or units differ."""
    parts = [tick.partition(" ") for tick in ticks]
    try:
        positions = tuple(float(number) for number, _, _ in parts)
    except ValueError:
        return None
    return positions if len({unit for _, _, unit in parts}) == 1 and len(set(positions)) > 1 else None


def _short(key: str) -> str:
    """Return the name of a varied key in panels, without `fixed_point.`"""
    return key.removeprefix(f"{FIXED_POINT}.")
