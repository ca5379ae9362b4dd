"""A recurrent layer of the integer reference, and the same in C, driven through ctypes."""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scff_hw.backends.fixed.formats.formats import LayerFormats, QFormat
from scff_hw.backends.fixed.reference.layer import IntegerLayer, LayerSpec, quantise
from scff_hw.backends.fixed.reference.recurrent import IntegerDirection, IntegerRecurrent

INPUT = QFormat(8, 5)
Sequences = list[NDArray[np.int64]]


def layer_of(
    features: int,
    units: int,
    sequences: int,
    *,
    seed: int = 0,
    averages: bool = True,
    channel: bool = False,
    weight_bits: int = 8,
    shadow_bits: int = 16,
    activation_bits: int = 8,
    error_bits: int = 8,
    off: dict[str, int] | None = None,
    penalty: float = 1e-2,
    **choices: Any,
) -> IntegerRecurrent:
    """One direction whose formats fit batches of so many sequences.

    Args:
        channel: a scale a unit, instead of one for an array.
        off: fraction bits by which formats miss what would fit, by their names; values are cut off, or coarse.
        choices: `rounding` and `stochastic`.
    """
    draw, off = np.random.default_rng(seed), off or {}
    fit = activation_bits - 8
    fracs = {
        "standardised": 5 + fit,
        "pre_activation": 11,
        "output": 4 + fit,
        "transmitted": 5 + fit,
        "error": round(math.log2(units * sequences)) + error_bits - 5,
        "feature": 5,
    }
    fracs = {name: frac + off.get(name, 0) for name, frac in fracs.items()}
    bits = dict.fromkeys(("standardised", "output", "transmitted"), activation_bits)
    bits |= {"pre_activation": 16, "error": error_bits, "feature": 8}
    made = {name: QFormat(bits[name], frac) for name, frac in fracs.items()}
    top = weight_bits - 2 + round(math.log2(units) / 2)
    arrays = []
    for number, (fan_in, form) in enumerate(((features, INPUT), (units, made["output"]))):
        frac: Any = tuple(int(f) for f in top - draw.integers(0, 2, units)) if channel else top
        weight = QFormat(weight_bits, frac)
        shadow = weight.plus(shadow_bits - weight_bits, shadow_bits) if shadow_bits else None
        formats = LayerFormats(input=form, weight=weight, shadow=shadow, accumulator_bits=32, **made, **choices)
        values = draw.uniform(-1, 1, (units, fan_in)) / units**0.5
        bias = draw.uniform(-1, 1, units) / units**0.5
        arrays.append(IntegerLayer(values, bias, LayerSpec(formats, None, True, 0.3, 0.6, penalty), seed + number))
    return IntegerRecurrent([IntegerDirection(*arrays)], averages)


def sequences_of(lengths: list[int], features: int, seed: int) -> Sequences:
    """Raw sequences `[T, features]`, with a constant frame among them."""
    draw = np.random.default_rng(seed)
    found = [quantise(draw.normal(size=(length, features)), INPUT) for length in lengths]
    found[0][-1] = 3
    return found


class Rnn(ctypes.Structure):
    """`scff_rnn_t`."""

    _fields_ = (("inputs", ctypes.c_void_p), ("hidden", ctypes.c_void_p), ("averages", ctypes.c_uint8))


class Sequence(ctypes.Structure):
    """`scff_rnn_sequence_t`."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("positive", "negative", "total")),
        ("steps", ctypes.c_uint32),
    )


class Sums(ctypes.Structure):
    """`scff_rnn_sums_t`."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("inputs", "hidden", "bias")),
        ("steps", ctypes.c_uint32),
        ("mantissa", ctypes.c_int32),
        ("exponent", ctypes.c_int32),
    )


class CRecurrent:
    """The layer in C, which starts from what an `IntegerRecurrent` holds. Its methods return the runtime's status."""

    def __init__(self, library: ctypes.CDLL, layer: IntegerRecurrent, c_layer: Any, structs: Any) -> None:
        (direction,) = layer.directions
        units, features = direction.inputs.stored.shape
        self.runtime = library
        self.inputs, self.hidden = c_layer(direction.inputs, (features,)), c_layer(direction.hidden, (units,))
        arrays = (self.inputs, self.hidden)
        self.rnn = Rnn(*(ctypes.addressof(array.struct) for array in arrays), int(layer.averages))
        both = [structs.Params(array.weight.ctypes.data, array.bias.ctypes.data) for array in arrays]
        self.params = (structs.Params * 2)(*both)
        self.state = (structs.State * 2)(*(array.state for array in arrays))
        self.positive, self.negative = (np.ones(units, np.int8) for _ in range(2))
        self.total = np.ones(units, np.int32)
        states = (self.positive, self.negative, self.total)
        self.sequence = Sequence(*(array.ctypes.data for array in states), 7)
        self.of_inputs, self.of_hidden, self.of_bias = (
            np.ones(shape, np.int32) for shape in ((units, features), (units, units), units)
        )
        summed = (self.of_inputs, self.of_hidden, self.of_bias)
        self.sums = Sums(*(array.ctypes.data for array in summed), 7, 0, 0)
        self.outputs = units * (1 + layer.averages)
        for name in ("scff_rnn_step_scratch", "scff_rnn_learn_scratch"):
            getattr(library, name).restype = ctypes.c_size_t
        for name in ("scff_rnn_outputs", "scff_rnn_max_steps"):
            getattr(library, name).restype = ctypes.c_uint32
        self.learning_bytes = library.scff_rnn_learn_scratch(ctypes.byref(self.rnn))
        self.step_scratch_bytes = library.scff_rnn_step_scratch(ctypes.byref(self.rnn))

    def begin(self, sequences: int) -> int:
        return self._call("begin", self.sums, sequences)

    def begin_pair(self) -> int:
        return self._call("begin_pair", self.sequence)

    def learn(self, own: NDArray[np.int64], other: NDArray[np.int64] | None, lacking: int = 0, off: int = 0) -> int:
        """`scff_rnn_learn`, with so many bytes of scratch too few, at an address that many bytes off."""
        frames = [None if frame is None else np.ascontiguousarray(frame, np.int8) for frame in (own, other)]
        room = np.zeros(self.learning_bytes + 8, np.int8)
        at = [ctypes.c_void_p(None if frame is None else frame.ctypes.data) for frame in frames]
        scratch = ctypes.c_void_p(room.ctypes.data + off), ctypes.c_size_t(self.learning_bytes - lacking)
        status = self._call("learn", self.params, self.sums, self.sequence, *at, *scratch)
        assert not room[off + self.learning_bytes :].any(), "written behind the scratch"
        return status

    def step(self, frame: NDArray[np.int64], lacking: int = 0) -> int:
        narrow, room = np.ascontiguousarray(frame, np.int8), np.zeros(self.step_scratch_bytes + 8, np.int8)
        scratch = ctypes.c_void_p(room.ctypes.data), ctypes.c_size_t(self.step_scratch_bytes - lacking)
        status = self._call("step", self.params, self.sequence, ctypes.c_void_p(narrow.ctypes.data), *scratch)
        assert not room[self.step_scratch_bytes :].any(), "written behind the scratch"
        return status

    def apply(self, rate_shift: int) -> int:
        return self._call("apply", self.state, self.sums, rate_shift)

    def output(self) -> NDArray[np.int8]:
        found = np.zeros(self.outputs, np.int8)
        assert self._call("output", self.sequence, ctypes.c_void_p(found.ctypes.data)) == 0
        return found

    def features(self, transmitted: NDArray[np.int64]) -> NDArray[np.int8]:
        found = transmitted.astype(np.int8)
        at = ctypes.c_void_p(found.ctypes.data)
        assert self._call("features", at, at) == 0
        return found

    @property
    def most_steps(self) -> int:
        return self._call("max_steps")

    def learned_state(self) -> list[NDArray[Any]]:
        """Copies of all that learning changes."""
        own = (self.of_inputs, self.of_hidden, self.of_bias, self.positive, self.negative, self.total)
        arrays = (self.inputs, self.hidden)
        parts = [part for each in arrays for part in (each.stored, each.weight, each.bias, each.states)]
        return [part.copy() for part in (*own, *parts)]

    def _call(self, name: str, *arguments: Any) -> int:
        given = [ctypes.byref(each) if isinstance(each, ctypes.Structure) else each for each in arguments]
        return getattr(self.runtime, f"scff_rnn_{name}")(ctypes.byref(self.rnn), *given)
