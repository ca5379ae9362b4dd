"""Calibration of a recurrent layer: formats of all its arrays, from the float layer's values for samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scff_hw.backends.fixed.formats.choose import (
    FEATURE_BITS,
    INPUT_BITS,
    TensorRange,
    best_format,
    growth,
    integer_rule,
    range_of,
    shadow_format,
    weight_format,
)
from scff_hw.backends.fixed.formats.formats import PRE_ACTIVATION_BITS, LayerFormats, check_steps, check_sums
from scff_hw.config.fixed_point import FixedPoint
from scff_hw.core.functional import standardise
from scff_hw.core.pairs import Partners, Stream
from scff_hw.core.recurrent import RecurrentLayer, input_drive, packed, unroll
from scff_hw.core.rules import Signals


@dataclass(frozen=True)
class RecurrentCalibration:
    """Formats by array name (`layers.1.forwards.inputs`), the observed ranges, and the layer's output."""

    formats: dict[str, LayerFormats]
    ranges: list[TensorRange]
    transmitted: Stream


def calibrate_recurrent(
    name: str, layer: RecurrentLayer, samples: Stream, options: FixedPoint, *, learning: bool, batch: int
) -> RecurrentCalibration:
    """Choose the formats of a recurrent layer, as `calibrate` does for other layers.

    Args:
        name: name of the layer, e.g. layers.1.
        layer: the layer in float, with the initial weights of the fixed-point layer.
        samples: N sequences; each is paired with the one N // 2 positions later, cyclically.
        batch: sequences per update; 0 for the number of `samples`.

    Raises:
        UsageError: a sum could overflow its accumulator; the message names the array and the required bits.
    """
    observed, transmitted = _observe(layer, samples, learning, batch)
    bits = {"input": INPUT_BITS, "pre_activation": PRE_ACTIVATION_BITS, "error": options.error_bits}
    chosen = {
        tensor: best_format(values, bits.get(tensor, options.activation_bits)) for tensor, values in observed.items()
    }
    shared: dict[str, Any] = {
        tensor: chosen[tensor] for tensor in ("pre_activation", "output", "transmitted", "error")
    } | {
        "feature": best_format(observed["transmitted"], FEATURE_BITS),
        "accumulator_bits": options.accumulator_bits,
        "rounding": options.rounding,
        "stochastic": options.stochastic,
    }
    read: dict[str, dict[str, Any]] = {
        "inputs": {"input": chosen["input"], "standardised": chosen["standardised"]},
        "hidden": {"input": chosen["output"], "standardised": chosen["state"]},
    }
    formats: dict[str, LayerFormats] = {}
    ranges = [range_of(name, tensor, values, chosen[tensor]) for tensor, values in observed.items()]
    count, steps = samples.positive.shape[:2]
    for part, array in layer.arrays.items():
        full, fan_in = f"{name}.{part}", array.geometry.fan_in
        weight = weight_format(array.weight, options, learning)
        formats[full] = LayerFormats(
            **shared, **read[part.split(".")[1]], weight=weight, shadow=shadow_format(weight, options)
        )
        ranges.append(range_of(full, "weight", array.weight, weight))
        check_sums(full, formats[full], fan_in, fan_in)
        check_steps(full, formats[full], (batch or count) * steps if learning else None, steps)
    return RecurrentCalibration(formats, ranges, transmitted)


def _observe(layer: RecurrentLayer, samples: Stream, learning: bool, batch: int) -> tuple[dict[str, Tensor], Stream]:
    """Compute a layer in float, in the steps of fixed point; return all tensors by name, and the layer's output."""
    packing, raw = packed(samples, layer.features_in)
    frames, count = standardise(raw), len(packing.order)
    partners = Partners.cyclic(count, count // 2)
    others = packing.partner_rows(partners)
    single, pairs, states = [], [], []
    for direction in layer.directions:
        z, trace = unroll(direction, input_drive(direction, frames, others), packing)
        read = trace.read.flatten(0, 1)
        single += [direction.inputs.mvm(frames), direction.hidden.mvm(read) + direction.hidden.bias]
        pairs.append(z)
        states.append(torch.cat((read, trace.final.flatten(0, 1))))
    z = torch.cat(pairs, dim=2)
    rule = integer_rule(layer.rule)
    grown = growth(rule, z[:, 0]) if learning else 1.0
    error = torch.zeros(1)
    if rule is not None:
        errors = rule.errors(Signals(frames, z[:, 0], z[:, 1]))
        # the rule averages over all steps of all sequences; an update sums steps and averages its sequences
        error = torch.stack((errors.positive, errors.negative)) * (len(frames) / (batch or count))
    transmitted = layer.forward(samples, partners)
    assert transmitted.negative is not None
    return {
        "input": raw,
        "standardised": frames,
        "state": torch.cat(states),
        "pre_activation": grown * torch.cat(single),
        "output": grown * torch.relu(z),
        "transmitted": torch.cat((transmitted.positive, transmitted.negative)),
        "error": error,
    }, transmitted
