"""How much of a recurrent layer's gain comes from the scale of its weights between states: spoken digits, held out.

    python benchmarks/recurrent_scale.py

Prints the readout's accuracy on untrained layers whose weights between states are multiplied by a constant, and on
layers that learned by SCFF, in per cent, mean and sample standard deviation over seeds. Does not read the test part.
"""

import statistics
import tempfile
from pathlib import Path

import torch

from scff_hw.backends import FloatBackend
from scff_hw.recipes import dump_recipe, load_recipe
from scff_hw.studies.lab import Lab, weights_of

SEEDS = range(5)
SCALES = (0.5, 0.7, 0.85, 1.0)
RECIPES = {
    "fsdd-birnn": [],
    "fsdd-birnn-best": [],
    "fsdd-birnn-best, last states only": ["layers.1.output=final"],
}


def accuracies(name: str, seed: int) -> dict[str, float]:
    """Accuracies in per cent for one seed, by the layers that the readout was fitted on."""
    changes = ["data.validation_samples=270", *RECIPES[name]]
    recipe = dump_recipe(load_recipe(name.partition(",")[0], changes))
    lab = Lab({"recipe": recipe, "seed": seed}, Path(tempfile.gettempdir()))
    initial = weights_of(lab.untrained(FloatBackend()))
    results = {}
    for scale in SCALES:
        scaled = {key: value * scale if key.endswith("hidden.weight") else value for key, value in initial.items()}
        results[f"untrained, {scale:g}"] = lab.fitted_accuracy(lab.with_weights(FloatBackend(), scaled))
    results["SCFF"] = lab.fitted_accuracy(lab.learned(FloatBackend()))
    return {layers: 100 * value for layers, value in results.items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    with torch.no_grad():
        for recipe_name in RECIPES:
            rows = [accuracies(recipe_name, seed) for seed in SEEDS]
            for layers in rows[0]:
                values = [row[layers] for row in rows]
                print(f"{recipe_name:34} {layers:16} {statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}")
