"""Geometries: how a weight matrix meets its input. See `base` for what each answers and how to add one."""

from scff_hw.core.geometry.base import Geometry, Prepared, Workspace
from scff_hw.core.geometry.conv2d import Conv2d
from scff_hw.core.geometry.dense import Dense

__all__ = ["Conv2d", "Dense", "Geometry", "Prepared", "Workspace"]
