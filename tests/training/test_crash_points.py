"""A process killed before any of its file operations leaves a folder in which the command can be completed.

The suite tests every n-th operation; the slow tests test all.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TINY = [
    "--set=layers.*.learn.epochs=1",
    "--set=readout.solver=ridge",
    "--set=training.batch_size=40",
    "--set=training.checkpoint_every_batches=2",
]
SGD = ["--set=layers.*.learn.optimiser=sgd", "--set=layers.*.learn.weight_decay=0", "--set=controls.backprop=null"]
TRAIN = ["train", "iris-mlp", *TINY]
RUN = "weights.safetensors,initial.safetensors,metrics.jsonl"

# every n-th operation: primes, so commands with the same operations are killed at different ones
COMMANDS = {
    "float": ([*TRAIN, "--set=controls.backprop.epochs=1"], RUN, 23),
    "fixed": ([*TRAIN, *SGD, "--backend", "fixed"], RUN, 29),
    # devices draw from a stream that the simulator cannot restore: tensor files differ between runs
    "analog": ([*TRAIN, *SGD, "--backend", "analog", "--profile", "ideal"], "", 29),
    "two seeds": ([*TRAIN, *SGD, "--seeds", "2"], "seed-0/weights.safetensors,seed-1/weights.safetensors", 59),
    "study": (["study", "controls", "iris-mlp", *TINY, *SGD, "--seeds", "1", "--jobs", "1"], "results.csv", 11),
}


def sweep(kind: str, every: int, folder: Path) -> dict[str, Any]:
    """The JSON output of crash_points.py."""
    command, files, _ = COMMANDS[kind]
    script = Path(__file__).with_name("crash_points.py")
    done = subprocess.run(
        [sys.executable, str(script), str(folder), str(every), files, "--", *command],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", COMMANDS)
def test_a_killed_command_can_be_finished(kind: str, tmp_path: Path) -> None:
    outcome = sweep(kind, COMMANDS[kind][2], tmp_path)
    assert outcome["points"] >= 3, "nearly no file operation was counted"
    assert outcome | {"points": 0} == {"points": 0, "dead_ends": [], "different": [], "leftovers": []}


@pytest.mark.slow
@pytest.mark.parametrize("kind", COMMANDS)
def test_a_command_killed_anywhere_can_be_finished(kind: str, tmp_path: Path) -> None:
    outcome = sweep(kind, 1, tmp_path)
    assert outcome | {"points": 0} == {"points": 0, "dead_ends": [], "different": [], "leftovers": []}
