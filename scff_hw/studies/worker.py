"""Measures one point, in any process."""

from __future__ import annotations

from pathlib import Path

from scff_hw.studies.lab import Lab
from scff_hw.studies.point import Point, Row
from scff_hw.studies.registry import find_study


def measure_point(point: Point, cache: Path) -> list[Row]:
    """Measure a point with its study, and return its rows.

    Args:
        cache: folder of trained weights that points share.
    """
    return find_study(point.study).measure(Lab(point.parameters, cache))
