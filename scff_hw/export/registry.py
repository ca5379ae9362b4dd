"""Exporters by name: those of scff-hw, each imported at first use, and those of installed packages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scff_hw.errors import UsageError
from scff_hw.registry import Registry

if TYPE_CHECKING:
    from scff_hw.export.exporter import Exporter


def _checked(entry: object) -> type[Exporter[Any, Any]]:
    import inspect

    from scff_hw.export.exporter import Exporter

    if not (isinstance(entry, type) and issubclass(entry, Exporter)) or inspect.isabstract(entry):
        raise UsageError(f"An exporter must be a subclass of Exporter with check and write. Got {entry!r} instead.")
    return entry


EXPORTERS: Registry[type[Exporter[Any, Any]]] = Registry(
    "exporter",
    _checked,
    {
        "c": "scff_hw.export.c.model:CExporter",
        "crossbar": "scff_hw.export.crossbar.model:CrossbarExporter",
        "nir": "scff_hw.export.nir.model:NirExporter",
        "onnx": "scff_hw.export.onnx.model:OnnxExporter",
    },
)
"""Exporters by name: built in, registered, and from entry points of the group `scff_hw.exporters`."""
