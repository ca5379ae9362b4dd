"""Effect of re-learning on the chip after a year of drift: digits on PCM, held-out samples, ten seeds.

    python benchmarks/relearning.py

Prints the change of accuracy relative to the drifted weights in points, mean and standard error over seeds, with the
readout kept; each accuracy is the mean of three reads.
"""

import statistics
import tempfile
from pathlib import Path

import torch

from scff_hw.backends.analog import AnalogBackend
from scff_hw.backends.analog.programmed import ProgrammedBackend
from scff_hw.core.network import Network
from scff_hw.hardware import load_profile
from scff_hw.recipes import dump_recipe, load_recipe
from scff_hw.studies.drift import TIMES_S, drift
from scff_hw.studies.lab import Lab, weights_of

SEEDS = range(10)
SETTINGS = ((0, 0.0), (10, 0.1), (30, 0.03), (30, 0.1), (30, 0.3), (100, 0.03), (100, 0.1), (300, 0.01), (300, 0.03))
"""Batches, and the share of the recipe's learning rate."""


def changes(seed: int) -> dict[str, float]:
    """Changes of accuracy relative to the drifted weights, in points, for one seed."""
    recipe = dump_recipe(load_recipe("digits-100", ["data.validation_samples=400"]))
    lab, pcm = Lab({"recipe": recipe, "seed": seed}, Path(tempfile.gettempdir())), load_profile("pcm")
    learned = weights_of(lab.learned(AnalogBackend(pcm, seed)))
    programmed = lab.with_weights(ProgrammedBackend(pcm, seed, compensated=True), learned)
    readout = lab.fit(programmed)

    def accuracy(network: Network) -> float:
        return 100 * statistics.mean(lab.accuracy(network, readout) for _ in range(3))

    results = {"just programmed": accuracy(programmed)}
    drift(programmed, TIMES_S["1 year"])
    base, weights = accuracy(programmed), weights_of(programmed)
    for batches, share in SETTINGS:
        network = lab.resumed(AnalogBackend(pcm, seed), weights)
        lab.relearn(network, batches, share, "relearning")
        results[f"{batches} batches at {share:g}"] = accuracy(network)
    return {name: value - base for name, value in results.items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    with torch.no_grad():
        rows = [changes(seed) for seed in SEEDS]
    for name in rows[0]:
        values = [row[name] for row in rows]
        error = statistics.stdev(values) / len(values) ** 0.5
        print(f"{name:22} {statistics.mean(values):+.2f} ± {error:.2f}")
