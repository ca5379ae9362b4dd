"""What a finished run costs on a digital target, from its recipe alone: no weights are read, no data set is needed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from scff_hw.hardware.costs import (
    SMALLEST_BATCH,
    Need,
    layer_to_infer,
    layer_to_learn,
    on_target,
    to_backpropagate,
    to_infer,
    to_learn,
)
from scff_hw.hardware.digital import Target
from scff_hw.hardware.workload import workload
from scff_hw.recipes import Recipe
from scff_hw.training.finished import FinishedRun

FORMATS = ("weight_bits", "activation_bits", "shadow_bits", "error_bits", "accumulator_bits")
MISSES = ("fits", "flash_missing_bytes", "ram_missing_bytes")
"""Said of the network, not of a layer: several share the memories."""


def run_costs(run: Path, target: Target) -> dict[str, Any]:
    """The costs of a finished run on `target`; see `recipe_costs`.

    Returns:
        `run`, `recipe`, `seed`, `profile` and `costs`.

    Raises:
        CheckpointError: not a run, or not finished.
    """
    opened = FinishedRun.open(run, purpose="evaluated")
    found = {"run": str(run), "recipe": opened.recipe.name, "seed": opened.seed, "profile": target.name}
    return found | {"costs": recipe_costs(opened.recipe, target)}


def recipe_costs(recipe: Recipe, target: Target) -> dict[str, Any]:
    """What inference and learning of a recipe's network cost on `target`, and backpropagation beside them.

    Number formats are those of `recipe.fixed_point`.

    Returns:
        `chip`; `formats`; `flash_available_bytes`, `ram_available_bytes`;
        `inference`; `learning` and `backpropagation`, once at the recipe's batch and once at a batch of two; `layers`.
        Each cost holds `fits`, bytes of flash and RAM and by how many they miss, multiply-accumulates, time in s and
        energy in J of one sample; one of a layer holds no `fits` and no misses.
    """
    network = workload(recipe)
    formats = recipe.fixed_point
    batch = network.batch_size
    batches = sorted({SMALLEST_BATCH, batch}, reverse=True)

    def cost(need: Need) -> dict[str, Any]:
        found = on_target(need, target)
        return {"fits": found.fits} | asdict(found) | {"macs": need.macs + need.outer_macs}

    def share(need: Need) -> dict[str, Any]:
        return {key: value for key, value in cost(need).items() if key not in MISSES}

    return {
        "chip": target.chip,
        "formats": {name: getattr(formats, name) for name in FORMATS},
        "flash_available_bytes": target.memory.flash_available,
        "ram_available_bytes": target.memory.ram_available,
        "inference": cost(to_infer(network, formats)),
        "learning": [{"batch_size": n} | cost(to_learn(network, formats, n)) for n in batches],
        "backpropagation": [{"batch_size": n} | cost(to_backpropagate(network, formats, n)) for n in batches],
        "layers": [
            {
                "layer": layer.number,
                "inference": share(layer_to_infer(layer, formats)),
                "learning": share(layer_to_learn(network, layer, formats, batch)) if layer.learns else None,
            }
            for layer in network.layers
        ],
    }
