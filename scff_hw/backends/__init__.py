"""Backends: who owns the weights, reads them and changes them. See `protocol` for the two calls a layer makes.

Further backends declare an entry point in the group `scff_hw.backends`: a callable taking `dtype` and `device`.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import cast

from scff_hw.backends.float import FloatBackend
from scff_hw.backends.protocol import Backend, Conv2d, Dense, Geometry, Optimisation, SynapticArray
from scff_hw.errors import UsageError, nearest

__all__ = ["Backend", "Conv2d", "Dense", "FloatBackend", "Geometry", "Optimisation", "SynapticArray", "make_backend"]


def backend_names() -> list[str]:
    """Names of the backends known here, those of installed packages included."""
    return sorted({"float", *(point.name for point in entry_points(group="scff_hw.backends"))})


def make_backend(name: str, *, dtype: str = "float32", device: str = "cpu") -> Backend:
    """The backend of that name.

    Raises:
        UsageError: no such backend, or it does not know the dtype or the device.
    """
    if name == "float":
        return FloatBackend(dtype, device)
    for point in entry_points(group="scff_hw.backends"):
        if point.name == name:
            return cast(Backend, point.load()(dtype=dtype, device=device))
    known = ", ".join(backend_names())
    raise UsageError(f"The backend must be one of {known}. Got '{name}' instead{nearest(name, backend_names())}.")
