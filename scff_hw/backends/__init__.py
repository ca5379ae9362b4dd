"""Backends store, read and update the weights. See `scff_hw.core.backend` for their interface.

`analog` and `fixed` need extras and are imported at first use. Further backends declare an entry point in the group
`scff_hw.backends`: a subclass of `scff_hw.core.backend.Backend`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scff_hw.lazy import lazy

if TYPE_CHECKING:
    from scff_hw.backends.float import FloatBackend
    from scff_hw.backends.registry import BACKENDS, backend_class, backend_names, make_backend
    from scff_hw.core.arrays import Metered, Optimisation, OwnArithmetic, SynapticArray
    from scff_hw.core.backend import Backend, Trial
    from scff_hw.core.geometry import Conv2d, Dense, Geometry

__all__ = [
    "BACKENDS",
    "Backend",
    "Conv2d",
    "Dense",
    "FloatBackend",
    "Geometry",
    "Metered",
    "Optimisation",
    "OwnArithmetic",
    "SynapticArray",
    "Trial",
    "backend_class",
    "backend_names",
    "make_backend",
]

__getattr__ = lazy(
    __name__,
    {
        "scff_hw.backends.float": ["FloatBackend"],
        "scff_hw.backends.registry": ["BACKENDS", "backend_class", "backend_names", "make_backend"],
        "scff_hw.core.arrays": ["Metered", "Optimisation", "OwnArithmetic", "SynapticArray"],
        "scff_hw.core.backend": ["Backend", "Trial"],
        "scff_hw.core.geometry": ["Conv2d", "Dense", "Geometry"],
    },
)
