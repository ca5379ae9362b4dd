"""Reading a run folder: what was run, every logged value, the summary and the first layer's weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from scff_hw.documents import FormatsDocument, RunDetails, RunSummary, parse_metrics, read_document, read_file
from scff_hw.errors import CheckpointError
from scff_hw.recipes import Recipe, parse_recipe

Summary = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One run folder, read. `records` are the lines of metrics.jsonl."""

    path: Path
    info: dict[str, Any]
    recipe: Recipe
    recipe_text: str
    records: tuple[dict[str, Any], ...]
    summary: Summary

    @property
    def seed(self) -> int:
        """The seed the run was started with."""
        return int(self.summary["seed"])

    @cached_property
    def layers(self) -> tuple[int, ...]:
        """The numbers, from 1, of the layers that logged batches."""
        return tuple(sorted({record["layer"] for record in self.records if record["kind"] == "batch"}))

    def series(self, *keys: str, **where: Any) -> dict[str, np.ndarray]:
        """Return float64 columns [n] of `keys` over the records that match `where`; NaN where missing."""
        rows = [r for r in self.records if all(r.get(key) == value for key, value in where.items())]
        return {key: np.array([_number(row.get(key)) for row in rows]) for key in keys}

    @cached_property
    def ranges(self) -> list[dict[str, Any]]:
        """What calibration saw of each tensor of a fixed-point run; empty for others.

        Raises CheckpointError where the run folder's formats.json is damaged.
        """
        if not (self.path / "formats.json").exists():
            return []
        found = read_document(self.path / "formats.json", FormatsDocument)
        return [each.model_dump() for each in found.ranges]

    def thresholds(self, layer: int) -> tuple[float, float] | None:
        """Return (theta_pos, theta_neg) of a layer, or None where the recipe has no such layer."""
        if layer > len(self.recipe.layers):
            return None
        learn = self.recipe.layers[layer - 1].learn
        return learn.theta_pos, learn.theta_neg

    def weight(self, layer: int = 1, *, initial: bool = False) -> np.ndarray:
        """Return a layer's weights, float32 [units, inputs] or [channels, inputs, kernel, kernel].

        Of a recurrent layer, those that its first direction reads frames by.

        Raises CheckpointError where the run folder has no such weights.
        """
        from scff_hw.training.run_folder import INITIAL, WEIGHTS, RunFolder

        name = INITIAL if initial else WEIGHTS
        recurrent = self.recipe.layers[layer - 1].kind == "recurrent"
        key = f"layers.{layer}.forwards.inputs.weight" if recurrent else f"layers.{layer}.weight"
        tensors = RunFolder(self.path).tensors(name)
        if key not in tensors:
            raise CheckpointError(f"The file {self.path / name} does not hold {key}.")
        return tensors[key].float().numpy()  # NumPy has no bfloat16


def read_run(path: Path) -> Run:
    """Read a finished run folder.

    Raises CheckpointError where `path` is not one (a file is missing or is not what a run writes there), and
    RecipeError where its recipe does not validate.
    """
    def absent(name: str) -> str:
        return f"The folder {path} is not a finished run: it holds no {name}."

    info = read_document(path / "run.json", RunDetails, absent("run.json")).as_json()
    summary = read_document(path / "summary.json", RunSummary, absent("summary.json")).as_json()
    text = read_file(path / "recipe.yaml", absent("recipe.yaml"))
    records = parse_metrics(path / "metrics.jsonl", absent("metrics.jsonl"))
    recipe = parse_recipe(text, str(path / "recipe.yaml"))
    return Run(path, info, recipe, text, tuple(records), summary)


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)
