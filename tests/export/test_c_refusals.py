"""What the C runtime refuses, and that a refusal changes nothing."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest

from scff_hw.export.fixed_run import IntegerRun
from scff_hw.training.finished import FinishedRun

BAD_ARGUMENT, SCRATCH, TOO_LARGE, UNALIGNED = 1, 2, 3, 8
GOOD = {"count": 4, "partner_shift": 1, "rate_shift": 0}


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"count": 1}, BAD_ARGUMENT),
        ({"partner_shift": 0}, BAD_ARGUMENT),
        ({"partner_shift": 4}, BAD_ARGUMENT),
        ({"rate_shift": 41}, BAD_ARGUMENT),
        ({"rate_shift": -17}, BAD_ARGUMENT),
        ({"x": None}, BAD_ARGUMENT),
        ({"count": 2**31}, TOO_LARGE),
        ({"scratch": -1}, SCRATCH),
        ({"offset": 2}, UNALIGNED),
    ],
    ids=str,
)
def test_a_batch_that_cannot_be_learned_from_changes_nothing(
    changes: dict[str, Any], status: int, finished: Any, c_layer: Any, structs: Any, library: ctypes.CDLL
) -> None:
    network = IntegerRun.of(FinishedRun.open(finished("digits-100")))
    c = c_layer(network.layers[0], network.shapes[0])
    x = network.samples("test", 4).astype(np.int8)
    values = {"x": x.ctypes.data} | GOOD | {key: v for key, v in changes.items() if key in (*GOOD, "x")}
    batch = structs.Batch(**values)
    size = library.scff_learn_scratch(ctypes.byref(c.struct), 4, 0) + changes.get("scratch", 0)
    scratch = np.zeros(size + 8, np.uint8)
    before = c.save()
    found = library.scff_learn(
        ctypes.byref(c.struct),
        ctypes.byref(c.state),
        ctypes.byref(batch),
        None,
        None,
        ctypes.c_void_p(scratch.ctypes.data + changes.get("offset", 0)),
        ctypes.c_size_t(size),
    )
    assert found == status
    assert c.save() == before


def test_a_frozen_layer_passes_on_and_stays(finished: Any, c_layer: Any) -> None:
    network = IntegerRun.of(FinishedRun.open(finished("digits-100")))
    c, layer = c_layer(network.layers[0], network.shapes[0]), network.layers[0]
    x = network.samples("test", 4)
    before = c.save()
    found = c.learn([x], 1, -128)
    assert c.save() == before
    expected = layer.learn([x], (np.arange(4) + 1) % 4, 0)
    assert np.array_equal(found[0], expected[0])
    assert np.array_equal(found[1], expected[1])
    assert not np.array_equal(layer.stored, c.stored)
