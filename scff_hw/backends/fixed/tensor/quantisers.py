"""Brevitas quantisers and layers with the formats of a fixed-point layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from scff_hw.backends.fixed.formats.formats import QFormat
from scff_hw.core.geometry import Geometry
from scff_hw.errors import MissingPartError

try:
    from brevitas.core.function_wrapper import CeilSte
    from brevitas.inject.enum import RestrictValueType, ScalingImplType, ScalingPerOutputType
    from brevitas.nn import QuantConv2d, QuantIdentity, QuantLinear
    from brevitas.quant.base import NarrowIntQuant
    from brevitas.quant.solver.act import ActQuantSolver
    from brevitas.quant.solver.weight import WeightQuantSolver
except ImportError as missing:
    raise MissingPartError(
        f"The fixed backend needs brevitas, which cannot be imported ({missing}); type: pip install 'scff-hw[fixed]'"
    ) from missing


def weight_quantiser(form: QFormat, dims: int) -> type:
    """Return a Brevitas weight quantiser of format `form`, for weights of `dims` dimensions."""
    return _quantiser(WeightQuantSolver, form, dims)


def activation_quantiser(form: QFormat) -> type:
    """Return a Brevitas activation quantiser of format `form`."""
    return _quantiser(ActQuantSolver, form, 0)


def quant_identity(form: QFormat) -> QuantIdentity:
    """Return a module that quantises values to the grid of a format, halves to even, saturating."""
    return QuantIdentity(act_quant=activation_quantiser(form)).eval()


def quant_layer(geometry: Geometry, form: QFormat, weight: Tensor) -> QuantLinear | QuantConv2d:
    """Return a Brevitas layer without bias, with a copy of `weight`.

    Raises:
        UsageError: Brevitas has no layer of this geometry.
    """
    make: type[Any] = geometry.by_kind("a layer of the fixed backend", dense=QuantLinear, conv2d=QuantConv2d)
    window = () if geometry.window is None else (geometry.window,)
    options: dict[str, Any] = {"bias": False, "weight_quant": weight_quantiser(form, weight.dim())}
    layer = make(geometry.inputs, geometry.outputs, *window, **options)
    layer.weight.requires_grad_(False).copy_(weight)
    return layer.eval()


def _quantiser(solver: type, form: QFormat, dims: int) -> type:
    many = len(form.fracs) > 1
    # Brevitas divides by 2^(bits - 1) where a scale is to be a power of two
    reach = torch.tensor([2.0 ** (form.bits - 1 - frac) for frac in form.fracs])
    body = {
        "scaling_impl_type": ScalingImplType.CONST,
        "scaling_per_output_type": ScalingPerOutputType.CHANNEL if many else ScalingPerOutputType.TENSOR,
        "restrict_scaling_type": RestrictValueType.POWER_OF_TWO,
        "restrict_value_float_to_int_impl": CeilSte,
        "bit_width": form.bits,
        "scaling_init": reach.view(-1, *(1,) * (dims - 1)) if many else float(reach),
    }
    return type("FixedPoint", (NarrowIntQuant, solver), body)
