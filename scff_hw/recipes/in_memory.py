"""Recipes for samples that are in memory, not in a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from scff_hw.recipes.loader import dump_yaml, parse_recipe
from scff_hw.recipes.schema import Recipe

DEFAULTS = {"dense": {"init": "linear", "pairs": "made"}, "conv2d": {"init": "xavier", "pairs": "made"}}


def recipe_in_memory(
    name: str,
    shape: Sequence[int],
    layers: Sequence[Mapping[str, Any]],
    classes: Sequence[str] = ("0", "1"),
    changes: Mapping[str, Any] | None = None,
) -> Recipe:
    """Make the recipe of layers that learn from samples of one shape.

    Args:
        name: name for messages.
        shape: shape of a sample, `(features,)` or `(channels, height, width)`.
        layers: sections of layers, as in a recipe; `init`, `pairs` and `learn.epochs` have defaults here.
        changes: values by dotted key, e.g. `{"training.batch_size": 50}`.

    Raises:
        RecipeError: a value does not validate.
    """
    sections = []
    for layer in layers:
        learn = {"epochs": 1} | dict(layer.get("learn", {}))
        sections.append(DEFAULTS.get(str(layer.get("kind")), {}) | dict(layer) | {"learn": learn})
    sides = [int(side) for side in shape]
    values = {
        "name": "in-memory",
        "description": name,
        "source": "Python",
        "data": {"kind": "arrays", "name": "memory", "path": "memory", "shape": sides, "class_names": list(classes)},
        "layers": sections,
        "readout": {"layers": list(range(1, len(sections) + 1))},
    }
    overrides = [f"{key}={json.dumps(value)}" for key, value in (changes or {}).items()]
    return parse_recipe(dump_yaml(values), name, overrides, "overrides")
