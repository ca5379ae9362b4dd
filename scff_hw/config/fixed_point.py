"""The number formats of the fixed backend: the section `fixed_point` of a recipe."""

from __future__ import annotations

from math import frexp
from typing import Literal

from pydantic import Field, model_validator

from scff_hw.config.base import Model, refuse


class FixedPoint(Model):
    """Number formats of the fixed backend; other backends ignore them."""

    weight_bits: int = Field(default=8, ge=2, le=8, description="bit; of a weight, including the sign")
    activation_bits: int = Field(
        default=8, ge=4, le=8, description="bit; of standardised inputs, outputs and transmitted values"
    )
    shadow_bits: Literal[0, 8, 16, 32] = Field(
        default=16,
        description="bit; of the shadow weights that accumulate updates; 0: none, updates change the weights directly",
    )
    error_bits: int = Field(default=8, ge=4, le=16, description="bit; of an error at a pre-activation")
    accumulator_bits: int = Field(
        default=32, ge=16, le=32, description="bit; of the accumulators of the MVM and the update"
    )
    rounding: Literal["half_even", "half_up"] = Field(
        default="half_even", description="rounding of halves in every requantisation; CMSIS-NN uses half_up"
    )
    update_rounding: Literal["nearest", "stochastic"] | None = Field(
        default=None, description="rounding of an update; null: nearest with shadow weights, stochastic without"
    )
    weight_scales: Literal["tensor", "channel"] = Field(
        default="tensor", description="one power of two per layer (tensor) or per output channel (channel)"
    )
    weight_scale: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="weight of one quantisation step, a power of two; null: from weight_headroom",
    )
    weight_headroom: float = Field(
        default=4.0,
        ge=1,
        le=256,
        description="largest representable weight of a layer, divided by its largest initial weight",
    )
    calibration_batches: int = Field(
        default=4, ge=1, le=1000, description="number of unlabelled batches that scales are chosen from"
    )

    @property
    def stochastic(self) -> bool:
        """Whether updates are rounded stochastically."""
        return self.update_rounding == "stochastic" or (self.update_rounding is None and not self.shadow_bits)

    @model_validator(mode="after")
    def _check(self) -> FixedPoint:
        if self.weight_scale is not None:
            mantissa, exponent = frexp(self.weight_scale)
            if mantissa != 0.5:
                below = 2.0 ** (exponent - 1)
                near = f"{below:g} or {2 * below:g}"
                refuse("weight_scale", f"must be a power of two, such as {near}, got {self.weight_scale:g}")
            if self.weight_scales == "channel":
                refuse("weight_scale", "must be null with weight_scales channel, which has a scale for each")
        return self
