"""Reading a run folder: what was run, every logged value, the summary and the first layer's weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from scff_hw.errors import CheckpointError

Summary = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One run folder, read. `records` are the lines of metrics.jsonl."""

    path: Path
    info: dict[str, Any]
    recipe: dict[str, Any]
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
        found = _json(self.path, "formats.json").get("ranges")
        if not isinstance(found, list):
            raise CheckpointError(f"The file {self.path / 'formats.json'} holds no list of ranges.")
        return found

    def thresholds(self, layer: int) -> tuple[float, float] | None:
        """Return (theta_pos, theta_neg) of a layer, or None where the recipe's rule has none."""
        layers = self.recipe.get("layers") or []
        learn = layers[layer - 1].get("learn") if layer <= len(layers) else None
        if not learn or learn.get("theta_pos") is None or learn.get("theta_neg") is None:
            return None
        return float(learn["theta_pos"]), float(learn["theta_neg"])

    def weight(self, layer: int = 1, *, initial: bool = False) -> np.ndarray:
        """Return a layer's weights, float32 [units, inputs] or [channels, inputs, kernel, kernel].

        Of a recurrent layer, those that its first direction reads frames by.

        Raises CheckpointError where the run folder has no such weights.
        """
        from safetensors import SafetensorError, safe_open

        path = self.path / ("initial.safetensors" if initial else "weights.safetensors")
        recurrent = self.recipe["layers"][layer - 1]["kind"] == "recurrent"
        key = f"layers.{layer}.forwards.inputs.weight" if recurrent else f"layers.{layer}.weight"
        try:
            # Through torch: NumPy has no bfloat16.
            with safe_open(path, framework="pt") as file:
                return file.get_tensor(key).float().numpy()
        except FileNotFoundError:
            raise CheckpointError(f"The file {path} is missing: the run in {self.path} did not finish.") from None
        except SafetensorError as error:
            raise CheckpointError(f"The file {path} does not hold {key} ({error}).") from error


def read_run(path: Path) -> Run:
    """Read a finished run folder.

    Raises CheckpointError where `path` is not one: a file is missing or is not what a run writes there.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    info = _json(path, "run.json")
    summary = _json(path, "summary.json")
    if not {"recipe", "seed", "metrics"} <= summary.keys():
        raise CheckpointError(
            f"The file {path / 'summary.json'} must hold recipe, seed, metrics; it holds {sorted(summary)}."
        )
    text = _text(path, "recipe.yaml")
    try:
        recipe = YAML(typ="safe").load(text)
    except YAMLError as error:
        raise CheckpointError(f"The file {path / 'recipe.yaml'} is not YAML ({error}).") from error
    return Run(path, info, recipe or {}, text, tuple(_records(path)), summary)


def _records(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(_text(path, "metrics.jsonl").splitlines(), start=1):
        try:
            record = json.loads(line)
            record["kind"]
        except (ValueError, TypeError, KeyError):
            place = f"{path / 'metrics.jsonl'}:{number}"
            raise CheckpointError(f"{place} is not a metrics record; got {line[:60]!r}.") from None
        yield record


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _text(path: Path, name: str) -> str:
    try:
        return (path / name).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(f"The folder {path} is not a finished run: it holds no {name}.") from None
    except UnicodeDecodeError as error:
        raise CheckpointError(f"The file {path / name} is not UTF-8 text ({error}).") from error


def _json(path: Path, name: str) -> dict[str, Any]:
    try:
        value = json.loads(_text(path, name))
    except ValueError as error:
        raise CheckpointError(f"The file {path / name} is not JSON ({error}).") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"The file {path / name} must hold one JSON object; it holds a {type(value).__name__}.")
    return value
