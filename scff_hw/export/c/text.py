"""Numbers and constants as C prints them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from scff_hw.backends.fixed.reference.layer import IntegerLayer
from scff_hw.escaping import Code
from scff_hw.export.c.layer import LayerConstants, PoolConstants
from scff_hw.export.c.values import ArrayValues, Initialisers

LINE = 112
"""Characters of a line of numbers."""

UNSIGNED = {
    *("channels", "height", "width", "units", "kernel", "padding", "out_height", "out_width", "weight_fracs"),
    *("stochastic", "makes_pairs", "triangle", "learned_positions", "max_rows", "fingerprint"),
    *("weight_bits", "shadow_bits", "standardised_bits", "output_bits", "transmitted_bits", "error_bits"),
    "feature_bits",
}


def file_name(recipe: str) -> str:
    """The name of a model's files, and after `scff_` the prefix of its names in C.

    `model_` before it keeps it apart from headers of a system, files of the runtime and of the folder, and names of the
    runtime, whatever the recipe is called.
    """
    return f"model_{re.sub(r'[^a-z0-9]+', '_', recipe.lower()).strip('_')}"


def array_texts(layer: IntegerLayer, c: LayerConstants, name: str) -> ArrayValues:
    """What the templates print of an array's numbers; `name` is before those of its C arrays."""
    form = layer.spec.formats
    return ArrayValues(
        c=c,
        weights=c.units * c.fan_in,
        weight_format=f"{form.weight.bits} bits, frac {fracs_text(form.weight.fracs)}",
        weight_text=numbers(layer.weight.ravel()),
        shadow_text=numbers(layer.held.ravel()),
        bias_text=numbers(layer.bias),
        states_text=numbers(layer.states, "u"),
        frac_text=numbers(c.weight_frac),
        initialisers=initialisers(c, f"{name}_weight_frac"),
    )


def numbers(values: ArrayLike, suffix: str = "") -> Code:
    """Numbers as C, in lines of equally many."""
    texts = [f"{value}{suffix}," for value in np.asarray(values).tolist()]
    count = max(1, LINE // (1 + max(map(len, texts), default=1)))
    return Code("\n".join("    " + " ".join(texts[first : first + count]) for first in range(0, len(texts), count)))


def in_line(values: Iterable[Any]) -> Code:
    """Numbers as C, in one line."""
    return Code(", ".join(map(str, values)))


def rows(values: Iterable[ArrayLike], suffix: str = "") -> Code:
    """Rows of numbers as C, each in braces."""
    return Code("\n".join(f"    {{\n{numbers(row, suffix)}\n    }}," for row in values))


def initialisers(constants: LayerConstants, weight_frac: str) -> Initialisers:
    """Names and values of a `scff_layer_t`; `weight_frac` names the array of that field."""
    return [(name, _initialiser(name, value, weight_frac)) for name, value in constants.initialisers()]


def fracs_text(fracs: Sequence[int]) -> str:
    """Fraction bits in words."""
    return str(fracs[0]) if len(fracs) == 1 else f"{min(fracs)} to {max(fracs)}, one a unit"


def _initialiser(name: str, value: Any, weight_frac: str) -> str:
    if isinstance(value, PoolConstants):
        kind = ("SCFF_NO_POOL", "SCFF_MAX_POOL", "SCFF_AVERAGE_POOL")[value.kind]
        rest = (value.size, value.stride, value.padding, value.out_height, value.out_width)
        return f"{{{kind}, {', '.join(f'{number}u' for number in rest)}}}"
    if name == "weight_frac":
        return weight_frac
    if name == "rounding":
        return ("SCFF_HALF_EVEN", "SCFF_HALF_UP")[value]
    return f"{value}u" if name in UNSIGNED else str(value)
