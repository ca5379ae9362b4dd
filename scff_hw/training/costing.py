"""Costs of a finished run on a digital target, computed from its recipe alone, without weights or data set."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from scff_hw.files import AnyPath
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
"""Keys of a cost for the whole network only: its layers share flash and RAM."""


def run_costs(run: AnyPath, target: Target) -> dict[str, Any]:
    """Compute the costs of a finished run on `target`; see `recipe_costs`.

    Returns:
        `run` (folder), `recipe`, `seed`, `profile` (name of `target`) and `costs`.

    Raises:
        CheckpointError: the folder is not a run, or the run is not finished.
    """
    run = Path(run)
    finished = FinishedRun.open(run, purpose="evaluated")
    about = {"run": str(run), "recipe": finished.recipe.name, "seed": finished.seed, "profile": target.name}
    return about | {"costs": recipe_costs(finished.recipe, target)}


def recipe_costs(recipe: Recipe, target: Target) -> dict[str, Any]:
    """Compute the costs of inference, learning and, for comparison, backpropagation of a network on `target`.

    Number formats come from `recipe.fixed_point`.

    Returns:
        `chip`; `formats`; `flash_available_bytes`, `ram_available_bytes`;
        `inference`, one cost; `learning` and `backpropagation`, a cost at the recipe's batch size and one at batch
        size 2; `layers`. Each cost has `fits`, bytes of flash and RAM, missing bytes of flash and RAM, and per sample
        multiply-accumulates, time in s and energy in J; a layer's cost has no `fits` and no missing bytes.
    """
    network = workload(recipe)
    formats = recipe.fixed_point
    batch = network.batch_size
    batches = sorted({SMALLEST_BATCH, batch}, reverse=True)

    def cost(need: Need) -> dict[str, Any]:
        costs = on_target(need, target)
        return {"fits": costs.fits} | asdict(costs) | {"macs": need.macs + need.outer_macs}

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
