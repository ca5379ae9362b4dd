"""Cost model of a network on a digital target: bytes, multiply-accumulates, time and energy. Not a measurement.

A value of b bits is stored in 8, 16 or 32 bits, whichever is next; values are not packed. A layer has C outputs,
fan-in F, P positions, n standardised inputs per sample (with padding), m transmitted values, and r input rows per
sample in learning (1 if it makes its pairs, else 2). w, a, s, e, c are the bytes of a weight, an activation, a shadow
weight, an error and an accumulator:

    constants               C F w + 4 C                             in flash; the same for the readout
    buffers, inference      n a + 2 C P + m a                       in RAM; maximum over layers, which share the buffers
                            + features a + classes c                for the readout
    weights that learn      C F (w + s) + 4 C (+ 4 C if s = 0)      in RAM, for every layer that learns; last term:
                                                                    state of stochastic rounding, 4 bytes per row
    buffers, learning       N r (n a + C P (2 + e)) + F c           in RAM; maximum over layers, which learn one after
                            + r max over preceding layers           the other; inputs, pre-activations (16 bits) and
                              (n a + 2 C P + m a)                   errors of a batch of N, one row of the outer product
                                                                    at a time, and the buffers of the preceding layers

The constants stay in flash during learning: they are the initial weights. Without flash they are in RAM, and learning
changes them in place.

Backpropagation with plain SGD in the same formats needs, for a batch of N, the weights of every layer and of the
readout in RAM, as above, and

    N (sum of n a + 2 C P, + features a) + N e (features + greatest C P + n) + c max(greatest F, features)

since the inputs and pre-activations of every layer are stored until the errors have been propagated, one layer at a
time (not to the network's input). The transposed products need no copy of the weights.

Time and energy count multiply-accumulates and weight writes, at the target's cycles and energies. Standardising,
pooling, activations and flash wait states are not counted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from scff_hw.errors import UsageError
from scff_hw.hardware.digital import Target
from scff_hw.hardware.workload import LayerWork, Workload

STORED_BITS = (8, 16, 32)
PREACTIVATION_BYTES = 2
BIAS_BYTES = 4
RANDOM_STATE_BYTES = 4
SMALLEST_BATCH = 2
"""A negative pair needs two samples."""


class Formats(Protocol):
    """Bits of each kind of number; `shadow_bits` is 0 without shadow weights."""

    @property
    def weight_bits(self) -> int: ...
    @property
    def activation_bits(self) -> int: ...
    @property
    def shadow_bits(self) -> int: ...
    @property
    def error_bits(self) -> int: ...
    @property
    def accumulator_bits(self) -> int: ...


@dataclass(frozen=True)
class Need:
    """Resources that a task needs, independent of the target.

    Attributes:
        flash_bytes: bytes of constants.
        ram_bytes: bytes of changing weights and buffers.
        moved_bytes: bytes of constants that are also in RAM, because they change there.
        macs: multiply-accumulates of matrix-vector products per sample.
        outer_macs: multiply-accumulates of outer products per sample.
        weight_writes: weight writes per sample: one write per weight and batch, divided by the batch size.
    """

    flash_bytes: int
    ram_bytes: int
    moved_bytes: int = 0
    macs: int = 0
    outer_macs: int = 0
    weight_writes: float = 0.0


@dataclass(frozen=True)
class Cost:
    """Cost of a task on one target.

    Attributes:
        flash_bytes, ram_bytes: bytes needed.
        flash_missing_bytes, ram_missing_bytes: bytes needed beyond the free memory; 0 if it fits.
        time_s, energy_joule: per sample.
    """

    flash_bytes: int
    ram_bytes: int
    flash_missing_bytes: int
    ram_missing_bytes: int
    time_s: float
    energy_joule: float

    @property
    def fits(self) -> bool:
        """Whether the task fits into the memory."""
        return not (self.flash_missing_bytes or self.ram_missing_bytes)


def stored_bytes(bits: int) -> int:
    """Return the bytes needed for a value of `bits` bits; 0 for 0 bits.

    Raises:
        UsageError: less than 0 or more than 32 bits.
    """
    if bits == 0:
        return 0
    for stored in STORED_BITS:
        if 0 < bits <= stored:
            return stored // 8
    raise UsageError(f"A number format must have from 0 to {STORED_BITS[-1]} bits, got {bits}.")


def layer_to_infer(layer: LayerWork, formats: Formats) -> Need:
    """Return the resources of one layer in inference: constants, buffers, one matrix-vector product."""
    return Need(_constants(layer, formats), _buffers(layer, formats), macs=layer.macs)


def layer_to_learn(network: Workload, layer: LayerWork, formats: Formats, batch: int) -> Need:
    """Return the resources of one layer that learns from batches of `batch` samples.

    RAM has its weights and buffers, and the buffers of the preceding layers, but not their weights. The
    multiply-accumulates of the preceding layers are counted, since they process every sample. A layer that does not
    learn only needs its constants.
    """
    constants = _constants(layer, formats)
    if not layer.learns:
        return Need(constants, 0)
    return Need(
        constants,
        _learning_weights(layer.weights, layer.outputs, formats) + _learning_buffers(network, layer, formats, batch),
        moved_bytes=constants,
        macs=network.macs_before(layer) + layer.rows * layer.macs,
        outer_macs=layer.rows * layer.outer_macs,
        weight_writes=layer.weights / batch,
    )


def to_infer(network: Workload, formats: Formats) -> Need:
    """Return the resources of the network in inference, with the readout."""
    constants = sum(_constants(layer, formats) for layer in network.layers) + _readout(network, formats)
    features = network.features * stored_bytes(formats.activation_bits)
    logits = network.classes * stored_bytes(formats.accumulator_bits)
    buffers = max(_buffers(layer, formats) for layer in network.layers)
    macs = sum(layer.macs for layer in network.layers) + _readout_macs(network)
    return Need(constants, buffers + features + logits, macs=macs)


def to_learn(network: Workload, formats: Formats, batch: int) -> Need:
    """Return the resources of hidden layers that learn from batches of `batch` samples, one layer after the other.

    RAM is sufficient for inference between batches. Multiply-accumulates and writes are for one presentation of a
    sample to every layer that learns. The readout is unchanged.

    Raises:
        UsageError: a batch of fewer than two samples, which has no negative pair.
    """
    if batch < SMALLEST_BATCH:
        raise UsageError(f"A batch must hold at least {SMALLEST_BATCH} samples to form a negative pair, got {batch}.")
    infer = to_infer(network, formats)
    learning = [layer for layer in network.layers if layer.learns]
    needs = [layer_to_learn(network, layer, formats, batch) for layer in learning]
    weights = sum(_learning_weights(layer.weights, layer.outputs, formats) for layer in learning)
    buffers = [_learning_buffers(network, layer, formats, batch) for layer in learning]
    return Need(
        infer.flash_bytes,
        weights + max([infer.ram_bytes, *buffers]),
        moved_bytes=sum(need.moved_bytes for need in needs),
        macs=sum(need.macs for need in needs),
        outer_macs=sum(need.outer_macs for need in needs),
        weight_writes=sum(need.weight_writes for need in needs),
    )


def to_backpropagate(network: Workload, formats: Formats, batch: int) -> Need:
    """Return the resources of the network trained by backpropagation with plain SGD, with the readout.

    Raises:
        UsageError: an empty batch.
    """
    if batch < 1:
        raise UsageError(f"A batch must hold at least 1 sample, got {batch}.")
    infer = to_infer(network, formats)
    layers, readout = network.layers, network.features * network.classes
    activation, error = stored_bytes(formats.activation_bits), stored_bytes(formats.error_bits)
    weights = sum(_learning_weights(layer.weights, layer.outputs, formats) for layer in layers)
    weights += _learning_weights(readout, network.classes, formats)
    stored = sum(layer.inputs * activation + _preactivations(layer) for layer in layers) + network.features * activation
    errors = max(layer.outputs * layer.positions + (layer.inputs if layer.number > 1 else 0) for layer in layers)
    row = max(network.features, *(layer.fan_in for layer in layers))
    buffers = batch * (stored + error * (network.features + errors)) + row * stored_bytes(formats.accumulator_bits)
    forward = sum(layer.macs for layer in layers)
    return Need(
        infer.flash_bytes,
        weights + max(buffers, infer.ram_bytes),
        moved_bytes=infer.flash_bytes,
        # forward through all layers, errors backward through all but the first
        macs=2 * (forward + _readout_macs(network)) - layers[0].macs,
        outer_macs=forward + _readout_macs(network),
        weight_writes=(sum(layer.weights for layer in layers) + readout) / batch,
    )


def on_target(need: Need, target: Target) -> Cost:
    """Return the cost of a task on a target: memory needed and missing, time and energy per sample.

        time = (macs cycles_per_mac + outer_macs cycles_per_outer_mac + weight_writes cycles_per_weight_write) / clock

    and likewise for energy. A target without flash has the constants in RAM, without a second copy of the constants
    that change.
    """
    placed = need
    if target.memory.flash == 0:
        constants = need.flash_bytes - need.moved_bytes
        placed = replace(need, flash_bytes=0, ram_bytes=need.ram_bytes + constants)
    compute = target.compute
    cycles = (
        need.macs * compute.cycles_per_mac
        + need.outer_macs * compute.cycles_per_outer_mac
        + need.weight_writes * compute.cycles_per_weight_write
    )
    energy = (
        need.macs * target.energy_per_mac_joule
        + need.outer_macs * target.energy_per_outer_mac_joule
        + need.weight_writes * target.energy_per_weight_write_joule
    )
    return Cost(
        placed.flash_bytes,
        placed.ram_bytes,
        max(0, placed.flash_bytes - target.memory.flash_available),
        max(0, placed.ram_bytes - target.memory.ram_available),
        cycles / compute.clock,
        energy,
    )


def _constants(layer: LayerWork, formats: Formats) -> int:
    return layer.weights * stored_bytes(formats.weight_bits) + layer.outputs * BIAS_BYTES


def _readout(network: Workload, formats: Formats) -> int:
    return network.classes * (network.features * stored_bytes(formats.weight_bits) + BIAS_BYTES)


def _readout_macs(network: Workload) -> int:
    return network.classes * network.features


def _preactivations(layer: LayerWork) -> int:
    return layer.outputs * layer.positions * PREACTIVATION_BYTES


def _buffers(layer: LayerWork, formats: Formats) -> int:
    return (layer.inputs + layer.transmitted) * stored_bytes(formats.activation_bits) + _preactivations(layer)


def _learning_weights(weights: int, rows: int, formats: Formats) -> int:
    """Return the bytes of `weights` in `rows` rows in learning: weights, biases, shadow weights or generator states."""
    random_state = 0 if formats.shadow_bits else rows * RANDOM_STATE_BYTES
    bytes_per_weight = stored_bytes(formats.weight_bits) + stored_bytes(formats.shadow_bits)
    return weights * bytes_per_weight + rows * BIAS_BYTES + random_state


def _learning_buffers(network: Workload, layer: LayerWork, formats: Formats, batch: int) -> int:
    sample = layer.inputs * stored_bytes(formats.activation_bits)
    sample += layer.outputs * layer.positions * (PREACTIVATION_BYTES + stored_bytes(formats.error_bits))
    preceding = max((_buffers(previous, formats) for previous in network.layers[: layer.number - 1]), default=0)
    row = layer.fan_in * stored_bytes(formats.accumulator_bits)
    return layer.rows * (batch * sample + preceding) + row
