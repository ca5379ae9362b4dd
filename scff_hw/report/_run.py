"""Reads a run folder: recipe, logged values, summary and weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scff_hw.documents import read_file
from scff_hw.errors import CheckpointError
from scff_hw.files import AnyPath
from scff_hw.recipes import Recipe

if TYPE_CHECKING:
    from scff_hw.training.finished import FinishedRun

Summary = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One finished run: its summary.json, and the lines of its metrics.jsonl as `records`."""

    finished: FinishedRun
    summary: Summary
    records: tuple[dict[str, Any], ...]

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.finished.path

    @property
    def recipe(self) -> Recipe:
        """The recipe of the run."""
        return self.finished.recipe

    @cached_property
    def info(self) -> dict[str, Any]:
        """Content of run.json."""
        return self.finished.details.as_json()

    @cached_property
    def recipe_text(self) -> str:
        """Text of recipe.yaml."""
        return self.finished.folder.read_text("recipe.yaml")

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return int(self.summary["seed"])

    @cached_property
    def layers(self) -> tuple[int, ...]:
        """1-based numbers of the layers that logged batches."""
        return tuple(sorted({record["layer"] for record in self.records if record["kind"] == "batch"}))

    def series(self, *keys: str, **where: Any) -> dict[str, np.ndarray]:
        """Return float64 columns [n] of `keys` over the records that match `where`; missing values are NaN."""
        rows = [r for r in self.records if all(r.get(key) == value for key, value in where.items())]
        return {key: np.array([_number(row.get(key)) for row in rows]) for key in keys}

    @cached_property
    def ranges(self) -> list[dict[str, Any]]:
        """Calibrated range of each tensor of a fixed-point run; empty for others.

        Raises CheckpointError if the run folder's formats.json is damaged.
        """
        formats = self.finished.formats
        return [] if formats is None else [tensor_range.model_dump() for tensor_range in formats.ranges]

    def thresholds(self, layer: int) -> tuple[float, float] | None:
        """Return (theta_pos, theta_neg) of a layer, or None if the recipe has no such layer."""
        if layer > len(self.recipe.layers):
            return None
        learn = self.recipe.layers[layer - 1].learn
        return learn.theta_pos, learn.theta_neg

    def weight(self, layer: int = 1, *, initial: bool = False) -> np.ndarray:
        """Return a layer's weights, float32 [units, inputs] or [channels, inputs, kernel, kernel].

        For a recurrent layer, the input weights of its first direction.

        Raises CheckpointError if the run folder has no such weights.
        """
        from scff_hw.training.run_folder import INITIAL, WEIGHTS

        name = INITIAL if initial else WEIGHTS
        recurrent = self.recipe.layers[layer - 1].kind == "recurrent"
        key = f"layers.{layer}.forwards.inputs.weight" if recurrent else f"layers.{layer}.weight"
        tensors = self.finished.tensors(name)
        if key not in tensors:
            raise CheckpointError(f"The file {self.path / name} does not hold {key}.")
        return tensors[key].float().numpy()  # NumPy has no bfloat16


def read_run(path: AnyPath) -> Run:
    """Read a finished run folder.

    Raises CheckpointError if `path` is not one (a file is missing or invalid, or the run is not finished), and
    RecipeError if its recipe does not validate.
    """
    from scff_hw.training.finished import FinishedRun  # imports torch, which study reports do not need

    path = Path(path)
    for name in ("run.json", "summary.json", "recipe.yaml", "metrics.jsonl"):
        read_file(path / name, f"The folder {path} is not a finished run: it holds no {name}.")
    finished = FinishedRun.open(path, purpose="reported")
    return Run(finished, finished.summary.as_json(), tuple(finished.folder.records()))


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)
