"""Numbers and constants as C text."""

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
"""Characters per line of numbers."""

UNSIGNED = {
    *("channels", "height", "width", "units", "kernel", "padding", "out_height", "out_width", "weight_fracs"),
    *("stochastic", "makes_pairs", "triangle", "learned_positions", "max_rows", "fingerprint"),
    *("weight_bits", "shadow_bits", "standardised_bits", "output_bits", "transmitted_bits", "error_bits"),
    "feature_bits",
}


def file_name(recipe: str) -> str:
    """Return the file stem for a recipe, and after `scff_` the prefix of its C names.

    The prefix `model_` avoids system headers, the names of the runtime and its files, and the folder's other files.
    """
    return f"model_{re.sub(r'[^a-z0-9]+', '_', recipe.lower()).strip('_')}"


def array_texts(layer: IntegerLayer, c: LayerConstants, name: str) -> ArrayValues:
    """Return the template values for an array of weights; `name` is the prefix of its C arrays."""
    form = layer.spec.formats
    return ArrayValues(
        c=c,
        weights=c.units * c.fan_in,
        weight_format=f"{form.weight.bits} bits, frac {fracs_text(form.weight.fracs)}",
        weight_text=numbers(layer.weight.ravel()),
        shadow_text=numbers(layer.stored.ravel()),
        bias_text=numbers(layer.bias),
        states_text=numbers(layer.states, "u"),
        frac_text=numbers(c.weight_frac),
        initialisers=initialisers(c, f"{name}_weight_frac"),
    )


def numbers(values: ArrayLike, suffix: str = "") -> Code:
    """Return the numbers as C, with the same count on each line."""
    texts = [f"{value}{suffix}," for value in np.asarray(values).tolist()]
    count = max(1, LINE // (1 + max(map(len, texts), default=1)))
    return Code("\n".join("    " + " ".join(texts[first : first + count]) for first in range(0, len(texts), count)))


def in_line(values: Iterable[Any]) -> Code:
    """Return the values as C, on one line."""
    return Code(", ".join(map(str, values)))


def rows(values: Iterable[ArrayLike], suffix: str = "") -> Code:
    """Return the rows of numbers as C, each in braces."""
    return Code("\n".join(f"    {{\n{numbers(row, suffix)}\n    }}," for row in values))


def initialisers(constants: LayerConstants, weight_frac: str) -> Initialisers:
    """Return the field names and values of a `scff_layer_t`; `weight_frac` is the name of that field's array."""
    return [(name, _initialiser(name, value, weight_frac)) for name, value in constants.initialisers()]


def fracs_text(fracs: Sequence[int]) -> str:
    """Return the fraction bits as text."""
    return str(fracs[0]) if len(fracs) == 1 else f"{min(fracs)} to {max(fracs)}, one per unit"


def _initialiser(name: str, value: Any, weight_frac: str) -> str:
    if isinstance(value, PoolConstants):
        kind = ("SCFF_NO_POOL", "SCFF_MAX_POOL", "SCFF_AVERAGE_POOL")[value.kind]
        sizes = (value.size, value.stride, value.padding, value.out_height, value.out_width)
        return f"{{{kind}, {', '.join(f'{size}u' for size in sizes)}}}"
    if name == "weight_frac":
        return weight_frac
    if name == "rounding":
        return ("SCFF_HALF_EVEN", "SCFF_HALF_UP")[value]
    return f"{value}u" if name in UNSIGNED else str(value)
