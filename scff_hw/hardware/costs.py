"""What a network costs on a digital target: bytes, multiply-accumulates, time and energy. A model, not a measurement.

A value of b bits is stored in the next of 8, 16 and 32 bits; nothing is packed. For a layer with C outputs, fan-in F,
P positions, n standardised inputs a sample (padding included), m values passed on, and r input rows a sample while it
learns (1 where it makes its pairs, else 2), with w, a, s, e, c the bytes of a weight, an activation, a shadow, an error
and an accumulator:

    constants               C F w + 4 C                             in flash; the readout's likewise
    buffers, to infer       n a + 2 C P + m a                       in RAM; the greatest of the layers, since their
                                                                    inputs and outputs take turns
                            + features a + classes c                of the readout
    weights that learn      C F (w + s) + 4 C (+ 4 C if s = 0)      in RAM, of every layer that learns; the last: random
                                                                    state of stochastic rounding, 4 bytes a row
    buffers, to learn       N r (n a + C P (2 + e)) + F c           in RAM; the greatest of the layers, since they learn
                            + r max over the layers before it       one after the other; inputs, pre-activations (16
                              (n a + 2 C P + m a)                   bits) and errors of a batch of N, one row of the
                                                                    outer product at a time, and what brings samples to
                                                                    the layer

The constants stay in flash while weights learn in RAM: they are what learning starts from. Without flash they are in
RAM, and the weights that learn start from where they are held.

Backpropagation, of the same network in the same formats by plain SGD, needs at a batch of N the weights of every layer
and of the readout in RAM, as above, and

    N (sum of n a + 2 C P, + features a) + N e (features + greatest C P + n) + c max(greatest F, features)

since every layer's inputs and pre-activations wait for the errors, which pass through one layer at a time (none is
passed to the network's input). Its transposed products read the weights as they are.

Time counts multiply-accumulates and weight writes at the target's cycles, energy the same at its energies.
Standardising, pooling and activations are not counted, nor waits for flash.
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
"""Samples that a negative pair needs."""


class Formats(Protocol):
    """Bits of each kind of number; `shadow_bits` 0 for no shadow."""

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
    """What a task needs of a target.

    Attributes:
        flash_bytes: constants.
        ram_bytes: weights that change, and buffers.
        moved_bytes: constants that the RAM holds anyway, because they change there.
        macs: multiply-accumulates of matrix-vector products, a sample.
        outer_macs: multiply-accumulates of outer products, a sample.
        weight_writes: weights changed, a sample: once a batch, shared by its samples.
    """

    flash_bytes: int
    ram_bytes: int
    moved_bytes: int = 0
    macs: int = 0
    outer_macs: int = 0
    weight_writes: float = 0.0


@dataclass(frozen=True)
class Cost:
    """What a task costs on one target.

    Attributes:
        flash_bytes, ram_bytes: needed there.
        flash_missing_bytes, ram_missing_bytes: by how much each exceeds what the target has free; 0 where it fits.
        time_s, energy_joule: a sample.
    """

    flash_bytes: int
    ram_bytes: int
    flash_missing_bytes: int
    ram_missing_bytes: int
    time_s: float
    energy_joule: float

    @property
    def fits(self) -> bool:
        """True where nothing is missing."""
        return not (self.flash_missing_bytes or self.ram_missing_bytes)


def stored_bytes(bits: int) -> int:
    """Bytes that hold a value of `bits` bits, 0 for 0 bits.

    Raises:
        UsageError: fewer than 0 bits, or more than 32.
    """
    if bits == 0:
        return 0
    for stored in STORED_BITS:
        if 0 < bits <= stored:
            return stored // 8
    raise UsageError(f"A number format must have from 0 to {STORED_BITS[-1]} bits, got {bits}.")


def layer_to_infer(layer: LayerWork, formats: Formats) -> Need:
    """What one layer needs to infer: its constants, its buffers, one matrix-vector product."""
    return Need(_constants(layer, formats), _buffers(layer, formats), macs=layer.macs)


def layer_to_learn(network: Workload, layer: LayerWork, formats: Formats, batch: int) -> Need:
    """What one layer needs while it learns from batches of `batch` samples.

    RAM holds its own weights and buffers, and what brings samples to it; other layers' weights are not counted. The
    multiply-accumulates of the layers before it are counted, since every sample passes through them. A layer that
    does not learn needs nothing.
    """
    constants = _constants(layer, formats)
    if not layer.learns:
        return Need(constants, 0)
    return Need(
        constants,
        _changing(layer.weights, layer.outputs, formats) + _learning_buffers(network, layer, formats, batch),
        moved_bytes=constants,
        macs=network.macs_before(layer) + layer.rows * layer.macs,
        outer_macs=layer.rows * layer.outer_macs,
        weight_writes=layer.weights / batch,
    )


def to_infer(network: Workload, formats: Formats) -> Need:
    """What the network needs to infer, readout included."""
    constants = sum(_constants(layer, formats) for layer in network.layers) + _readout(network, formats)
    features = network.features * stored_bytes(formats.activation_bits)
    logits = network.classes * stored_bytes(formats.accumulator_bits)
    buffers = max(_buffers(layer, formats) for layer in network.layers)
    macs = sum(layer.macs for layer in network.layers) + _readout_macs(network)
    return Need(constants, buffers + features + logits, macs=macs)


def to_learn(network: Workload, formats: Formats, batch: int) -> Need:
    """What the hidden layers need to learn from batches of `batch` samples, one layer after the other.

    RAM lets the network infer between batches too. Multiply-accumulates and writes are those of one sample presented
    once to every layer that learns. The readout stays as it is.

    Raises:
        UsageError: a batch of fewer than two samples, which holds no negative pair.
    """
    if batch < SMALLEST_BATCH:
        raise UsageError(f"A batch must hold at least {SMALLEST_BATCH} samples to form a negative pair, got {batch}.")
    infer = to_infer(network, formats)
    learning = [layer for layer in network.layers if layer.learns]
    each = [layer_to_learn(network, layer, formats, batch) for layer in learning]
    weights = sum(_changing(layer.weights, layer.outputs, formats) for layer in learning)
    buffers = [_learning_buffers(network, layer, formats, batch) for layer in learning]
    return Need(
        infer.flash_bytes,
        weights + max([infer.ram_bytes, *buffers]),
        moved_bytes=sum(need.moved_bytes for need in each),
        macs=sum(need.macs for need in each),
        outer_macs=sum(need.outer_macs for need in each),
        weight_writes=sum(need.weight_writes for need in each),
    )


def to_backpropagate(network: Workload, formats: Formats, batch: int) -> Need:
    """What the same network needs to learn by backpropagation and plain SGD, readout included.

    Raises:
        UsageError: an empty batch.
    """
    if batch < 1:
        raise UsageError(f"A batch must hold at least 1 sample, got {batch}.")
    infer = to_infer(network, formats)
    layers, readout = network.layers, network.features * network.classes
    activation, error = stored_bytes(formats.activation_bits), stored_bytes(formats.error_bits)
    weights = sum(_changing(layer.weights, layer.outputs, formats) for layer in layers)
    weights += _changing(readout, network.classes, formats)
    kept = sum(layer.inputs * activation + _preactivations(layer) for layer in layers) + network.features * activation
    passing = max(layer.outputs * layer.positions + (layer.inputs if layer.number > 1 else 0) for layer in layers)
    row = max(network.features, *(layer.fan_in for layer in layers))
    buffers = batch * (kept + error * (network.features + passing)) + row * stored_bytes(formats.accumulator_bits)
    forward = sum(layer.macs for layer in layers)
    return Need(
        infer.flash_bytes,
        weights + max(buffers, infer.ram_bytes),
        moved_bytes=infer.flash_bytes,
        # forward everywhere, errors back through all but the first layer
        macs=2 * (forward + _readout_macs(network)) - layers[0].macs,
        outer_macs=forward + _readout_macs(network),
        weight_writes=(sum(layer.weights for layer in layers) + readout) / batch,
    )


def on_target(need: Need, target: Target) -> Cost:
    """Bytes against what the target has free, time and energy of one sample.

        time = (macs cycles_per_mac + outer_macs cycles_per_outer_mac + weight_writes cycles_per_weight_write) / clock

    and energy likewise. A target without flash holds constants in RAM, those that change there only once.
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


def _changing(weights: int, rows: int, formats: Formats) -> int:
    """Bytes of weights that learn, in `rows` rows, with their biases and their shadow or random state."""
    random_state = 0 if formats.shadow_bits else rows * RANDOM_STATE_BYTES
    each = stored_bytes(formats.weight_bits) + stored_bytes(formats.shadow_bits)
    return weights * each + rows * BIAS_BYTES + random_state


def _learning_buffers(network: Workload, layer: LayerWork, formats: Formats, batch: int) -> int:
    sample = layer.inputs * stored_bytes(formats.activation_bits)
    sample += layer.outputs * layer.positions * (PREACTIVATION_BYTES + stored_bytes(formats.error_bits))
    before = max((_buffers(below, formats) for below in network.layers[: layer.number - 1]), default=0)
    row = layer.fan_in * stored_bytes(formats.accumulator_bits)
    return layer.rows * (batch * sample + before) + row
