"""The integer reference is the specification: it needs NumPy and no more of this library than its own arithmetic."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

PROGRAM = """
import sys
sys.modules.update({"torch": None, "scff_hw.recipes": None, "pydantic": None})  # importing any of them fails
import numpy as np
from scff_hw.backends.fixed.formats.formats import LayerFormats, QFormat
from scff_hw.backends.fixed.reference import arithmetic, readout, recurrent
from scff_hw.backends.fixed.reference.layer import IntegerLayer, LayerSpec, quantise
from scff_hw.core import shapes, xorshift

eight = QFormat(8, 5)
formats = LayerFormats(eight, eight, QFormat(8, 7), QFormat(16, 15), 32, QFormat(16, 10), eight, eight, eight, eight)
draw = np.random.default_rng(0)
layer = IntegerLayer(draw.uniform(-0.5, 0.5, (4, 12)), np.zeros(4), LayerSpec(formats, None, True, 0.5, 1.0, 0.0))
before, x = layer.weight.copy(), quantise(draw.normal(size=(6, 12)), formats.input)
layer.learn([x], np.roll(np.arange(6), -1), rate_shift=-4)
assert layer.forward(x).shape == (6, 4) and (layer.weight != before).any()
assert not any(name == "torch" or name.startswith("torch.") for name, module in sys.modules.items() if module)
print("learned")
"""


def test_a_layer_learns_without_torch_or_recipes() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "learned\n", done.stderr


@pytest.mark.parametrize("package", ["scff_hw.core", "scff_hw.backends", "scff_hw.backends.fixed"])
def test_lazy_packages_have_the_names_that_they_declare(package: str) -> None:
    module = import_module(package)
    for name in module.__all__:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'wrong'"):
        module.wrong  # noqa: B018
