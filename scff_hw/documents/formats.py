"""formats.json: the fixed-point formats of a run's layers, and the ranges they were chosen from."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from scff_hw.documents.base import Document, Part, Share

Bits = Annotated[int, Field(ge=1, le=64)]
FractionBits = Annotated[int, Field(ge=-128, le=128)]


class TensorFormat(Part):
    """Calibration of one tensor: observed range and chosen format.

    Attributes:
        frac: fraction bits; one number, or one per output channel.
        largest: largest observed magnitude.
        holds: largest representable magnitude.
        used: `largest / holds`.
        clipped: share of the observed values that the format clips.
    """

    layer: str
    tensor: str
    bits: Bits
    frac: FractionBits | tuple[FractionBits, ...]
    largest: float
    holds: float
    used: float
    clipped: Share


class FormatsDocument(Document):
    """formats.json; `scff_hw.backends.fixed.LayerFormats` validates `layers`."""

    layers: dict[str, dict[str, Any]]
    ranges: tuple[TensorFormat, ...]
