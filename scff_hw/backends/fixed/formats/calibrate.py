"""Calibration: the formats of all tensors of a network, from a few unlabelled batches."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from scff_hw.backends.fixed.formats.calibrate_recurrent import calibrate_recurrent
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
from scff_hw.backends.fixed.formats.formats import PRE_ACTIVATION_BITS, LayerFormats, QFormat, check_sums, fraction_bits
from scff_hw.config.fixed_point import FixedPoint
from scff_hw.core.functional import TRANSMIT, reflect_pad, standardise
from scff_hw.core.layer import PairLayer
from scff_hw.core.network import Network
from scff_hw.core.pairs import Partners, Stream
from scff_hw.core.recurrent import RecurrentLayer
from scff_hw.core.rules import Signals


@dataclass(frozen=True)
class Calibration:
    """Formats by array name (`layers.1`, or e.g. `layers.1.forwards.inputs`), and the observed ranges."""

    formats: dict[str, LayerFormats]
    ranges: tuple[TensorRange, ...]


def calibrate(
    network: Network, samples: Stream, options: FixedPoint, *, learning: bool = True, batch: int = 0, views: int = 1
) -> Calibration:
    """Choose the formats of a network's layers, first to last.

    The scale of an activation is the power of two with the least mean squared error on the float layer's values for
    `samples`. If the layer learns, its outputs are first scaled to their expected goodness, given by its thresholds.
    The scale of weights covers `weight_headroom` times the largest weight, or the largest alone without learning.

    Args:
        network: the network in float, with the initial weights of the fixed-point network.
        samples: N unlabelled samples; the second half provides the negatives of the first.
        learning: False for weights that stay fixed.
        batch: samples per update, which determine the size of errors and sums; 0 for the number of `samples`.
        views: views per sample where pairs are made, 1 or 2.

    Raises:
        UsageError: a sum could overflow its accumulator (the message names the layer and the required bits), or a
            rule has no fixed-point form.
    """
    formats: dict[str, LayerFormats] = {}
    ranges: list[TensorRange] = []
    features: dict[str, Tensor] = {}
    stream, count = samples, len(samples.positive)
    before: QFormat | None = None
    for number, layer in enumerate(network.layers, start=1):
        name = f"layers.{number}"
        if isinstance(layer, RecurrentLayer):
            calibrated = calibrate_recurrent(name, layer, stream, options, learning=learning, batch=batch)
            formats |= calibrated.formats
            ranges += calibrated.ranges
            features[name] = calibrated.transmitted.positive
            stream, before = calibrated.transmitted, next(iter(calibrated.formats.values())).transmitted
            continue
        assert isinstance(layer, PairLayer), "calibration needs feed-forward or recurrent layers"
        observed, stream = _observe(layer, stream, learning)
        positions = observed["output"][0, 0].numel()
        learned = min(positions, layer.update_positions or sys.maxsize)
        # an error is averaged over the samples and positions of an update, which differ from those observed here
        observed["error"] = observed["error"] * (count / (batch or count) * positions / learned)
        chosen = {
            tensor: best_format(values, bits)
            for tensor, values, bits in (
                ("input", observed["input"], INPUT_BITS),
                ("standardised", observed["standardised"], options.activation_bits),
                ("pre_activation", observed["pre_activation"], PRE_ACTIVATION_BITS),
                ("output", observed["output"], options.activation_bits),
                ("transmitted", observed["transmitted"], options.activation_bits),
                ("error", observed["error"], options.error_bits),
                ("feature", observed["feature"], FEATURE_BITS),
            )
        }
        if before is not None:
            chosen["input"] = before
        before = chosen["transmitted"]
        weight = weight_format(layer.array.weight, options, learning)
        formats[name] = LayerFormats(
            **chosen,
            weight=weight,
            shadow=shadow_format(weight, options),
            accumulator_bits=options.accumulator_bits,
            rounding=options.rounding,
            stochastic=options.stochastic,
        )
        rows = (batch or count) * (views if layer.makes_pairs else 2)
        inputs = observed["standardised"][0].numel()
        check_sums(name, formats[name], layer.array.geometry.fan_in, inputs, rows * learned if learning else None)
        ranges += [
            range_of(name, tensor, observed[tensor], form) for tensor, form in chosen.items() if tensor != "feature"
        ]
        ranges.append(range_of(name, "weight", layer.array.weight, weight))
        features[name] = observed["feature"]
    # the readout concatenates the features of all layers, so they have one scale
    feature = min((form.feature for form in formats.values()), key=lambda form: form.frac_bits)
    ranges += [range_of(name, "feature", values, feature) for name, values in features.items()]
    return Calibration({name: replace(form, feature=feature) for name, form in formats.items()}, tuple(ranges))


def default_formats(weight: Tensor, options: FixedPoint, inputs: float = 4.0, errors: float = 1.0) -> LayerFormats:
    """Return the formats of an array that was not calibrated, for `inputs` and `errors` up to these magnitudes."""
    weights = weight_format(weight, options, learning=True)
    activation = QFormat(options.activation_bits, fraction_bits(inputs, options.activation_bits))
    return LayerFormats(
        input=QFormat(INPUT_BITS, fraction_bits(inputs, INPUT_BITS)),
        standardised=activation,
        weight=weights,
        shadow=shadow_format(weights, options),
        accumulator_bits=options.accumulator_bits,
        pre_activation=QFormat(PRE_ACTIVATION_BITS, 10),
        output=activation,
        transmitted=activation,
        error=QFormat(options.error_bits, fraction_bits(errors, options.error_bits)),
        feature=QFormat(FEATURE_BITS, fraction_bits(inputs, FEATURE_BITS)),
        rounding=options.rounding,
        stochastic=options.stochastic,
    )


def _observe(layer: PairLayer, stream: Stream, learning: bool) -> tuple[dict[str, Tensor], Stream]:
    """Compute a layer in float, in the steps of fixed point; return all tensors by name, and the layer's output."""
    parts = [stream.positive] if layer.makes_pairs or stream.negative is None else [stream.positive, stream.negative]
    if layer.array.geometry.flattens:
        parts = [part.flatten(1) for part in parts]
    x = standardise(reflect_pad(torch.cat(parts), layer.padding))
    v = layer.array.mvm(x)
    v = v + layer.array.bias.view(1, -1, *(1,) * (v.dim() - 2))
    n = len(parts[0])
    partners = Partners.cyclic(n, n // 2)
    if layer.makes_pairs:
        z_pos, z_neg = 2 * v, v + v[partners.forward]
    else:
        z_pos, z_neg = v[:n], v[-n:]
    rule = integer_rule(layer.rule)
    grown = growth(rule, z_pos) if learning else 1.0
    activation = TRANSMIT[layer.transmit]
    outputs = [activation(z) if layer.pool is None else layer.pool(activation(z)) for z in (z_pos, z_neg)]
    error = torch.zeros(1)
    if rule is not None:
        errors = rule.errors(Signals(x, z_pos, z_neg))
        error = torch.cat([errors.positive, errors.negative])
        if layer.makes_pairs:
            error = 2 * errors.positive + errors.negative + errors.negative[partners.backward]
    observed = {
        "input": torch.cat(parts),
        "standardised": x,
        "pre_activation": grown * v,
        "output": grown * torch.cat([torch.relu(z_pos), torch.relu(z_neg)]),
        "transmitted": grown * torch.cat(outputs),
        "error": error,
        "feature": layer.features(outputs[0]),
    }
    return observed, Stream(outputs[0], outputs[1])


