"""The `fixed` backend: learning in integers, on Brevitas modules, bit-exact with the integer reference.

`README.md` in this folder lists the format of every tensor and the order of every operation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scff_hw.lazy import lazy

if TYPE_CHECKING:
    from scff_hw.backends.fixed.backend import FixedBackend
    from scff_hw.backends.fixed.formats.calibrate import Calibration, calibrate
    from scff_hw.backends.fixed.formats.choose import TensorRange
    from scff_hw.backends.fixed.formats.formats import LayerFormats, QFormat
    from scff_hw.backends.fixed.tensor.array import FixedArray
    from scff_hw.backends.fixed.tensor.layer import FixedLayer
    from scff_hw.backends.fixed.tensor.recurrent import FixedRecurrentLayer
    from scff_hw.config.fixed_point import FixedPoint

__all__ = [
    "Calibration",
    "FixedArray",
    "FixedBackend",
    "FixedLayer",
    "FixedPoint",
    "FixedRecurrentLayer",
    "LayerFormats",
    "QFormat",
    "TensorRange",
    "calibrate",
]

__getattr__ = lazy(
    __name__,
    {
        "scff_hw.backends.fixed.backend": ["FixedBackend"],
        "scff_hw.backends.fixed.formats.calibrate": ["Calibration", "calibrate"],
        "scff_hw.backends.fixed.formats.choose": ["TensorRange"],
        "scff_hw.backends.fixed.formats.formats": ["LayerFormats", "QFormat"],
        "scff_hw.backends.fixed.tensor.array": ["FixedArray"],
        "scff_hw.backends.fixed.tensor.layer": ["FixedLayer"],
        "scff_hw.backends.fixed.tensor.recurrent": ["FixedRecurrentLayer"],
        "scff_hw.config.fixed_point": ["FixedPoint"],
    },
)
