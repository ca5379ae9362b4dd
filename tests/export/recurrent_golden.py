"""What `recurrent_steps.c` learns, and must end every batch with: from the integer reference."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scff_hw.backends.fixed.reference.layer import IntegerLayer
from scff_hw.backends.fixed.reference.recurrent import IntegerDirection, StreamingRecurrent
from scff_hw.export.c.layer import LayerConstants
from scff_hw.export.c.text import initialisers, numbers

from .recurrent_kernels import layer_of, sequences_of

FEATURES, UNITS, PAIRS, STEPS = 39, 64, 4, 1000
KINDS: dict[str, dict[str, Any]] = {
    "shadow": {},
    "at random": {
        **{"shadow_bits": 0, "weight_bits": 4, "stochastic": True, "rounding": "half_up"},
        **{"channel": True, "averages": False},
    },
    # saturated: twice one of them and another leave 16 bits, which SMLAD takes two by two
    "errors of 16 bits": {"error_bits": 16, "off": {"error": 4}},
}


def crc(*values: NDArray[Any], before: int = 0) -> int:
    for each in values:
        before = zlib.crc32(each.tobytes(), before)
    return before


def crc_of_array(array: IntegerLayer, before: int) -> int:
    """Of all that learning changes, in the widths of C."""
    form, parts = array.spec.formats, [array.weight.astype(np.int8)]
    if form.shadow is not None:
        parts.append(array.stored.astype(f"<i{form.shadow.bits // 8}"))
    parts.append(array.bias.astype("<i4"))
    if form.stochastic:
        parts.append(array.states.astype("<u4"))
    return crc(*parts, before=before)


def array_text(name: str, array: IntegerLayer) -> str:
    """An array's constants, and what it starts from."""
    units, fan_in = array.stored.shape
    constants = LayerConstants.of(array.spec, units, (fan_in,))
    fields = "".join(f"    .{key} = {value},\n" for key, value in initialisers(constants, f"{name}_frac"))
    form = array.spec.formats
    made = [
        f"static const int8_t {name}_frac[] = {{\n{numbers(constants.weight_frac)}\n}};",
        f"static const scff_layer_t layer_of_{name} = {{\n{fields}}};",
        f"static int8_t {name}_weight[] = {{\n{numbers(array.weight.ravel())}\n}};",
        f"static int32_t {name}_bias[] = {{\n{numbers(array.bias)}\n}};",
        f"static uint32_t {name}_states[] = {{\n{numbers(array.states, 'u')}\n}};",
    ]
    if form.shadow is not None:
        made.append(f"static int{form.shadow.bits}_t {name}_shadow[] = {{\n{numbers(array.stored.ravel())}\n}};")
    made.append(f"#define {name.upper()}_SHADOW {f'{name}_shadow' if form.shadow else 'NULL'}")
    return "\n".join(made)


def golden(kind: str) -> str:
    """`golden.h`: first weights, frames, and CRCs of what the reference does with them."""
    layer = layer_of(FEATURES, UNITS, PAIRS, seed=3, **KINDS[kind])
    (direction,) = layer.directions
    arrays = {"inputs": direction.inputs, "hidden": direction.hidden}
    texts = [array_text(name, array) for name, array in arrays.items()]
    before = [array.stored.copy() for array in arrays.values()]
    draw = np.random.default_rng(5)
    lengths = draw.integers(8, 33, 12).tolist()
    sequences = sequences_of(lengths, FEATURES, 4)
    streamed, steps = StreamingRecurrent(layer), 0
    pairs, rates, sums, weights = [], [], [], []
    while steps < STEPS:
        chosen = draw.permutation(len(sequences))[:PAIRS]
        pairs += chosen.tolist()
        rates.append(int(draw.integers(0, 4)))
        streamed.begin(PAIRS)
        found = 0
        for k, n in zip(chosen, np.roll(chosen, -1), strict=True):
            streamed.begin_pair()
            for t, frame in enumerate(sequences[k]):
                streamed.learn(frame, sequences[n][t] if t < len(sequences[n]) else None)
                found = crc(streamed.states.astype(np.int8), before=found)
                steps += 1
            assert streamed.states.any(axis=1).all(), "silent units: the test would see nothing"
        sums.append(crc(*(part.astype("<i4") for part in summed(direction)), before=found))
        streamed.apply(rates[-1])
        weights.append(crc_of_array(direction.hidden, crc_of_array(direction.inputs, 0)))
    for array, start in zip(arrays.values(), before, strict=True):
        assert (array.stored != start).mean() > 0.3, "hardly a weight moved: the test would see nothing"
    answers, passed = 0, np.zeros(0, np.int64)
    streamed.begin_pair()
    for frame in sequences[0]:
        streamed.step(frame)
        passed = streamed.transmitted()
        answers = crc(passed.astype(np.int8), before=answers)
    answers = crc(layer.features(passed).astype(np.int8), before=answers)
    values = {
        **{"FEATURES": FEATURES, "UNITS": UNITS, "PAIRS": PAIRS, "BATCHES": len(rates), "STEPS": steps},
        **{"OUTPUTS": len(passed), "AVERAGES": int(layer.averages)},
    }
    frames = np.concatenate(sequences).ravel()
    return "\n".join(
        [
            *(f"#define {name} {value}u" for name, value in values.items()),
            *texts,
            f"static const int8_t frames[] = {{\n{numbers(frames)}\n}};",
            f"static const uint32_t first_frame[] = {{\n{numbers(np.cumsum([0, *lengths]), 'u')}\n}};",
            f"static const uint8_t pairs[] = {{\n{numbers(pairs)}\n}};",
            f"static const int32_t rate_shifts[] = {{\n{numbers(rates)}\n}};",
            f"static const uint32_t crc_of_sums[] = {{\n{numbers(sums, 'u')}\n}};",
            f"static const uint32_t crc_of_weights[] = {{\n{numbers(weights, 'u')}\n}};",
            f"static const uint32_t crc_of_answers = {answers}u;\n",
        ]
    )


def summed(direction: IntegerDirection) -> tuple[NDArray[np.int64], ...]:
    """The sums of gradients, of which the reference says nothing until it applies them."""
    return direction._of_inputs, direction._of_hidden, direction._of_bias
