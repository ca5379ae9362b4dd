"""A synthetic run folder with the files that training writes, created in milliseconds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from scff_hw.recipes import dump_recipe, load_recipe

MakeRun = Callable[..., Path]

LEARN = "epochs: 5, optimiser: sgd, learning_rate: 0.1, penalty: 0"
RECIPE = (
    "description=two layers made up for a test",
    f"layers=[{{kind: dense, units: 100, init: linear, pairs: made, learn: {{{LEARN}, theta_pos: 4, theta_neg: 6}}}}, "
    f"{{kind: dense, units: 10, init: linear, pairs: made, learn: {{{LEARN}, theta_pos: 1, theta_neg: 1}}}}]",
    "readout.layers=[1, 2]",
)


def records(rng: np.random.Generator, layers: int, epochs: int, batches: int) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl."""
    lines: list[dict[str, Any]] = []
    for layer in range(1, layers + 1):
        for step in range(1, epochs * batches + 1):
            part = 1 - np.exp(-3 * step / (epochs * batches))
            lines.append(
                {
                    "kind": "batch",
                    "layer": layer,
                    "epoch": (step - 1) // batches + 1,
                    "batch": (step - 1) % batches + 1,
                    "step": step,
                    "goodness_pos": 1 + 7 / layer * part + 0.4 * rng.standard_normal(),
                    "goodness_neg": 0.5 + 3 / layer * part + 0.2 * rng.standard_normal(),
                    "loss": 1.5 - part,
                    "dead_units": 0.03 * part,
                    "weight_min": -0.1 - 0.6 * part,
                    "weight_max": 0.1 + 0.9 * part,
                    "learning_rate": 3e-3,
                }
            )
    for features, end in (("untrained", 0.94), ("scff", 0.972)):
        for epoch in range(1, 31):
            accuracy = end - 0.3 * np.exp(-epoch / 3)
            lines.append(
                {"kind": "readout", "features": features, "epoch": epoch, "loss": 0.1}
                | {"train_accuracy": accuracy + 0.01, "test_accuracy": accuracy}
            )
    for epoch in range(1, 11):
        accuracy = 0.981 - 0.05 * np.exp(-epoch)
        lines.append(
            {"kind": "backprop", "epoch": epoch, "loss": 0.1}
            | {"train_accuracy": accuracy, "test_accuracy": accuracy}
        )
    return lines


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Return a function that writes a run folder and returns its path."""

    def make(
        name: str = "made-up",
        seed: int = 0,
        shape: tuple[int, ...] = (100, 64),
        data: str = "digits",
        layers: int = 2,
        epochs: int = 5,
        batches: int = 20,
    ) -> Path:
        rng = np.random.default_rng(seed)
        run = tmp_path / f"{name}-seed{seed}"
        run.mkdir(parents=True)
        info = {
            "recipe": name,
            "seed": seed,
            "backend": "float",
            "versions": {"scff-hw": "0.1.0", "torch": "2.13.0"},
            "command": f"scff-hw train {name} --seed {seed}",
            "status": "done",
            "started": "2025-01-02T03:04:05+00:00",
            "duration_s": 12.5,
        }
        metrics = {
            "test_accuracy": 0.972 + 0.001 * seed,
            "untrained_test_accuracy": 0.94 - 0.002 * seed,
            "backprop_test_accuracy": 0.981,
            "train_accuracy": 0.99,
            "layers": [
                {"layer": n, "goodness_pos": 8.125 / n, "goodness_neg": 3.25 / n, "dead_units": 0.03}
                for n in range(1, layers + 1)
            ],
            "seconds": {"layers": 65.0, "readout": 4.5},
        }
        summary = {"run": str(run), "recipe": name, "seed": seed, "backend": "float", "measured_on": "test"}
        summary |= {"metrics": metrics}
        (run / "run.json").write_text(json.dumps(info))
        (run / "summary.json").write_text(json.dumps(summary))
        recipe = load_recipe("digits-mlp", [*RECIPE, f"data.name={data}"]).model_copy(update={"name": name})
        (run / "recipe.yaml").write_text(dump_recipe(recipe))
        lines = records(rng, layers, epochs, batches)
        (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        for file, scale in (("initial.safetensors", 0.1), ("weights.safetensors", 1.0)):
            weight = (scale * rng.standard_normal(shape)).astype(np.float32)
            save_file({"layers.1.weight": weight}, run / file)
        return run

    return make
