"""A layer of the integer reference in the C runtime's form: the constants of `scff_layer_t`, and saved bytes."""

from __future__ import annotations

import json
import math
import struct
import zlib
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from scff_hw.backends.fixed.reference.arithmetic import COEFFICIENT_BITS, TABLE_STEPS_PER_UNIT_LOG2, reciprocal, split
from scff_hw.backends.fixed.reference.layer import IntegerLayer, LayerSpec, PoolShape
from scff_hw.backends.fixed.reference.readout import SHADOW_BITS, WEIGHT_BITS, IntegerReadout
from scff_hw.core.shapes import pool_length
from scff_hw.documents.manifests import Where

SAVE_VERSION = 1
"""Version of the saved bytes; `SCFF_SAVE_VERSION` in `scff.h`."""

WHERE: tuple[tuple[Where, str], ...] = (("flash", "as exported"), ("RAM", "learning"))
"""The memory of an array's numbers, and the label of those numbers."""

POOL_KINDS = {"max": 1, "avg": 2}
ROUNDINGS = {"half_even": 0, "half_up": 1}


@dataclass(frozen=True)
class PoolConstants:
    """`scff_pool_t`; kind 0: no pooling."""

    kind: int = 0
    size: int = 1
    stride: int = 1
    padding: int = 0
    out_height: int = 1
    out_width: int = 1

    @classmethod
    def of(cls, pool: PoolShape | None, height: int, width: int) -> PoolConstants:
        """Return the constants of a pool over `height` x `width` values; None leaves the size unchanged."""
        if pool is None:
            return cls(out_height=height, out_width=width)
        rule = {"size": pool.size, "stride": pool.stride, "padding": pool.padding, "ceil": pool.ceil}
        out = [pool_length(length, **rule) for length in (height, width)]
        return cls(POOL_KINDS[pool.kind], pool.size, pool.stride, pool.padding, out[0], out[1])


@dataclass(frozen=True)
class LayerConstants:
    """The fields of `scff_layer_t`, in its order; `scff.h` documents each."""

    channels: int
    height: int
    width: int
    units: int
    kernel: int
    padding: int
    out_height: int
    out_width: int
    pool: PoolConstants
    readout_pool: PoolConstants
    rounding: int
    stochastic: int
    makes_pairs: int
    triangle: int
    weight_bits: int
    shadow_bits: int
    standardised_bits: int
    output_bits: int
    transmitted_bits: int
    error_bits: int
    feature_bits: int
    standardised_frac: int
    pre_activation_frac: int
    output_frac: int
    transmitted_frac: int
    error_frac: int
    feature_frac: int
    weight_frac: tuple[int, ...]
    weight_fracs: int
    theta_pos: int
    theta_neg: int
    penalty: int
    mean_factor: int
    mean_shift: int
    learned_positions: int
    root_factor: int
    root_shift: int
    max_rows: int
    fingerprint: int

    @classmethod
    def of(cls, spec: LayerSpec, units: int, shape: tuple[int, ...]) -> LayerConstants:
        """The constants of a layer of `units` units on inputs of `shape`: (channels, height, width), or (inputs,)."""
        form = spec.formats
        if spec.kernel is None:
            channels, height, width = int(np.prod(shape)), 1, 1
            out_height, out_width, fan_in = 1, 1, channels
        else:
            channels, height, width = shape
            out_height, out_width = (n + 2 * spec.padding - spec.kernel + 1 for n in (height, width))
            fan_in = channels * spec.kernel**2
        positions = out_height * out_width
        learned = min(spec.positions or positions, positions)
        pool = PoolConstants.of(spec.pool, out_height, out_width)
        mean_factor, mean_shift = reciprocal(units)
        root_factor, root_shift = split(1 / math.sqrt(fan_in))
        product = learned * form.error.top * form.standardised.top
        identity = {
            "units": units,
            "fan_in": fan_in,
            "kernel": spec.kernel or 0,
            "weight_bits": form.weight.bits,
            "weight_frac": form.weight.fracs,
            "shadow_bits": 0 if form.shadow is None else form.shadow.bits,
            "standardised_frac": form.standardised.frac_bits,
            "stochastic": form.stochastic,
        }
        return cls(
            channels=channels,
            height=height,
            width=width,
            units=units,
            kernel=spec.kernel or 0,
            padding=spec.padding,
            out_height=out_height,
            out_width=out_width,
            pool=pool,
            readout_pool=PoolConstants.of(spec.readout_pool, pool.out_height, pool.out_width),
            rounding=ROUNDINGS[form.rounding],
            stochastic=int(form.stochastic),
            makes_pairs=int(spec.makes_pairs),
            triangle=int(spec.transmit == "triangle"),
            weight_bits=form.weight.bits,
            shadow_bits=0 if form.shadow is None else form.shadow.bits,
            standardised_bits=form.standardised.bits,
            output_bits=form.output.bits,
            transmitted_bits=form.transmitted.bits,
            error_bits=form.error.bits,
            feature_bits=form.feature.bits,
            standardised_frac=form.standardised.frac_bits,
            pre_activation_frac=form.pre_activation.frac_bits,
            output_frac=form.output.frac_bits,
            transmitted_frac=form.transmitted.frac_bits,
            error_frac=form.error.frac_bits,
            feature_frac=form.feature.frac_bits,
            weight_frac=form.weight.fracs,
            weight_fracs=len(form.weight.fracs),
            theta_pos=round(spec.theta_pos * (1 << TABLE_STEPS_PER_UNIT_LOG2)),
            theta_neg=round(spec.theta_neg * (1 << TABLE_STEPS_PER_UNIT_LOG2)),
            penalty=round(spec.penalty * positions * (1 << COEFFICIENT_BITS)),
            mean_factor=mean_factor,
            mean_shift=mean_shift,
            learned_positions=learned,
            root_factor=root_factor,
            root_shift=root_shift,
            max_rows=((1 << (form.accumulator_bits - 1)) - 1) // product,
            fingerprint=zlib.crc32(json.dumps(identity, sort_keys=True).encode()),
        )

    @classmethod
    def of_readout(cls, classes: int, features: int, frac: int, feature_frac: int, rounding: str) -> LayerConstants:
        """Return the constants of a readout: weights of `frac` fraction bits, features of `feature_frac`."""
        identity = {"classes": classes, "features": features, "weight_frac": frac, "feature_frac": feature_frac}
        values = {
            "channels": features,
            "units": classes,
            "pool": PoolConstants(),
            "readout_pool": PoolConstants(),
            "rounding": ROUNDINGS[rounding],
            "weight_bits": WEIGHT_BITS,
            "shadow_bits": SHADOW_BITS,
            "standardised_frac": feature_frac,
            "weight_frac": (frac,),
            "fingerprint": zlib.crc32(json.dumps(identity, sort_keys=True).encode()),
            **dict.fromkeys(["height", "width", "out_height", "out_width", "learned_positions", "weight_fracs"], 1),
        }
        return cls(**{field.name: values.get(field.name, 0) for field in fields(cls)})

    @property
    def inputs(self) -> int:
        """n: inputs per sample, without padding."""
        return self.channels * self.height * self.width

    @property
    def padded_inputs(self) -> int:
        return self.channels * (self.height + 2 * self.padding) * (self.width + 2 * self.padding)

    @property
    def fan_in(self) -> int:
        """F: inputs per unit."""
        return self.channels * self.kernel**2 if self.kernel else self.inputs

    @property
    def positions(self) -> int:
        """P: positions per channel."""
        return self.out_height * self.out_width

    @property
    def transmitted(self) -> int:
        """Outputs per sample."""
        return self.units * self.pool.out_height * self.pool.out_width

    @property
    def features(self) -> int:
        """Features per sample, which the readout reads."""
        return self.units * self.readout_pool.out_height * self.readout_pool.out_width

    @property
    def stored_bytes(self) -> int:
        """Bytes per weight of what an update changes: the shadow weight, or the weight where there is no shadow."""
        return self.shadow_bits // 8 or 1

    @property
    def forward_scratch(self) -> int:
        """Bytes of scratch; `scff_forward_scratch`."""
        return self.positions * (4 + 2 * self.units) + _even(self.padded_inputs + (self.fan_in if self.kernel else 0))

    @property
    def state_bytes(self) -> dict[str, int]:
        """Bytes of each buffer that learning changes."""
        weights = self.units * self.fan_in
        shadow = weights * self.stored_bytes if self.shadow_bits else 0
        return {
            "weight": weights,
            "shadow": shadow,
            "bias": 4 * self.units,
            "states": 4 * self.units if self.stochastic else 0,
        }

    @property
    def save_size(self) -> int:
        """Bytes of a saved layer; `scff_save_size`."""
        return 20 + self.units * (self.fan_in * self.stored_bytes + (8 if self.stochastic else 4))

    def rows(self, two_views: bool) -> int:
        """Return R / N: rows of the MVM per sample."""
        return 2 if two_views or not self.makes_pairs else 1

    def learn_scratch(self, two_views: bool) -> tuple[int, int]:
        """Return the bytes of scratch per sample, and fixed bytes; together `scff_learn_scratch`, or one byte more."""
        rows = self.rows(two_views)
        read = rows * (self.padded_inputs + 1)
        per_sample = 8 * self.positions + rows * 2 * self.positions * (self.units + 1) + read
        return per_sample, 4 * max(self.fan_in, self.positions) + _even((self.fan_in if self.kernel else 0) + read % 2)

    def initialisers(self) -> list[tuple[str, Any]]:
        """Return the names and values, in the order of the struct."""
        return [(field.name, getattr(self, field.name)) for field in fields(self)]


def _even(count: int) -> int:
    return count + count % 2


def saved_bytes(layer: IntegerLayer | IntegerReadout, constants: LayerConstants) -> bytes:
    """Return the bytes that `scff_save` writes for a layer or a readout."""
    stored = layer.stored.astype(f"<i{constants.stored_bytes}").tobytes()
    body = stored + layer.bias.astype("<i4").tobytes()
    if isinstance(layer, IntegerLayer) and constants.stochastic:
        body += layer.states.astype("<u4").tobytes()
    head = b"SCFF" + struct.pack("<III", SAVE_VERSION, constants.fingerprint, len(body))
    return head + body + struct.pack("<I", zlib.crc32(head + body))
