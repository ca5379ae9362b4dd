"""The only import of nir, so that there is one message where it is missing."""

from __future__ import annotations

from scff_hw.errors import MissingPartError

try:
    import nir
except ImportError as missing:
    raise MissingPartError(
        f"Exporting to NIR needs nir and h5py, which cannot be imported ({missing}); type: pip install 'scff-hw[nir]'"
    ) from missing

__all__ = ["nir"]
