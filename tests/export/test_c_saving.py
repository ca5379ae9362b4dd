"""What is saved of a layer: the same bytes from C and Python, and nothing else is loaded."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
import pytest

from scff_hw.export.c.layer import LayerConstants, saved_bytes
from scff_hw.export.fixed_run import IntegerRun
from scff_hw.training.finished import FinishedRun

BAD_SIZE, BAD_VERSION, BAD_MODEL, BAD_CRC = 4, 5, 6, 7


@pytest.mark.parametrize(
    "formats",
    [
        (),
        ("fixed_point.shadow_bits=0",),
        ("fixed_point.shadow_bits=32", "fixed_point.update_rounding=stochastic"),
        ("fixed_point.weight_bits=4", "fixed_point.shadow_bits=8"),
    ],
    ids=["int16", "weights alone", "int32 at random", "int8"],
)
def test_c_and_python_save_the_same_bytes(formats: tuple[str, ...], finished: Any, c_layer: Any) -> None:
    network = IntegerRun.of(FinishedRun.open(finished("digits-100", *formats)))
    layer, shape = network.layers[0], network.shapes[0]
    c = c_layer(layer, shape)
    expected = saved_bytes(layer, LayerConstants.of(layer.spec, len(layer.stored), shape))
    assert c.save() == expected
    assert len(expected) == c.constants.save_size
    held, bias, weight = c.stored.copy(), c.bias.copy(), c.weight.copy()
    for array in (c.stored, c.bias, c.weight, c.states):
        array[...] = 1
    assert c.load(expected) == 0
    for before, after in ((held, c.stored), (bias, c.bias), (weight, c.weight)):
        assert np.array_equal(before, after)


def test_damaged_or_foreign_bytes_change_nothing(finished: Any, c_layer: Any) -> None:
    network = IntegerRun.of(FinishedRun.open(finished("digits-100")))
    c = c_layer(network.layers[0], network.shapes[0])
    saved = c.save()
    held = c.stored.copy()

    def with_crc(changed: bytes) -> bytes:
        return changed[:-4] + struct.pack("<I", zlib.crc32(changed[:-4]))

    other_version = saved[:4] + struct.pack("<I", 2) + saved[8:]
    other_model = saved[:8] + struct.pack("<I", 1) + saved[12:]
    assert c.load(b"XCFF" + saved[4:]) == BAD_VERSION
    assert c.load(with_crc(other_version)) == BAD_VERSION
    assert c.load(with_crc(other_model)) == BAD_MODEL
    assert c.load(saved[:-1]) == BAD_SIZE
    assert c.load(saved + b"\0") == BAD_SIZE
    assert c.load(b"") == BAD_SIZE
    for at in (12, 16, 500, len(saved) - 1):
        damaged = bytearray(saved)
        damaged[at] ^= 1
        assert c.load(bytes(damaged)) in (BAD_CRC, BAD_SIZE)
    assert np.array_equal(held, c.stored)
