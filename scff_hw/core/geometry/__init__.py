"""Geometries: how a weight matrix is applied to its input. See `base` for the interface and how to add one."""

from scff_hw.core.geometry.base import Geometry, Prepared, Workspace
from scff_hw.core.geometry.conv2d import Conv2d
from scff_hw.core.geometry.dense import Dense

__all__ = ["Conv2d", "Dense", "Geometry", "Prepared", "Workspace"]
