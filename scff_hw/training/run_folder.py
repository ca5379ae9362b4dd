"""A run folder: what was run, its metrics, its checkpoint, its weights. Everything is written atomically.

A checkpoint is one safetensors file: tensors, and the position in the run as JSON in its metadata. Metrics are
JSON lines; a checkpoint remembers how long that file was, so a resumed run continues it without repeats.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from scff_hw.core.network import Network
from scff_hw.errors import CheckpointError
from scff_hw.files import partial_file, write_atomic

RECIPE = "recipe.yaml"
PROFILE = "profile.yaml"
FORMATS = "formats.json"
RUN = "run.json"
SUMMARY = "summary.json"
WEIGHTS = "weights.safetensors"
INITIAL = "initial.safetensors"
CHECKPOINT = "checkpoint.safetensors"
METRICS = "metrics.jsonl"


def read_records(path: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@dataclass(frozen=True)
class Position:
    """Where a run stands: in `stage`, before batch `batch` of epoch `epoch` (both 0-based)."""

    stage: str
    epoch: int = 0
    batch: int = 0


@dataclass
class Checkpoint:
    """Where a run stands, and every tensor it needs to go on.

    Attributes:
        tensors: by dotted name, e.g. `layers.1.weight`, `readout.scff.weight`.
        values: JSON values that go with them (finished stages, their results).
    """

    position: Position
    tensors: dict[str, Tensor]
    values: dict[str, Any] = field(default_factory=dict)

    def group(self, prefix: str) -> dict[str, Tensor]:
        """The tensors under `prefix.`, without the prefix."""
        return {k[len(prefix) + 1 :]: v for k, v in self.tensors.items() if k.startswith(f"{prefix}.")}

    def restore(self, network: Network) -> None:
        """Let every array of a network go on from where this checkpoint has it.

        Raises:
            CheckpointError: names or shapes are not those of the network's arrays.
        """
        for name, array in network.arrays.items():
            array.load_state(self.group(name))


def write_json(path: Path, value: Any) -> None:
    """Write an indented JSON document atomically."""
    write_atomic(path, (json.dumps(value, indent=2) + "\n").encode())


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file atomically."""
    try:
        with partial_file(path) as temporary:
            save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, temporary, metadata)
    except SafetensorError as error:
        if "No space left" not in str(error):
            raise
        raise OSError(28, "No space left on device", str(path)) from None


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file: its tensors and its metadata.

    Raises:
        CheckpointError: missing, truncated or not a safetensors file.
    """
    if not path.is_file():
        raise CheckpointError(f"The file {path} does not exist.")
    try:
        with safe_open(path, framework="pt") as file:
            names: list[str] = list(file.keys())
            return {name: file.get_tensor(name) for name in names}, dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"The file {path} is not a readable safetensors file ({error}).") from None


class RunFolder:
    """One run's folder on disk.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._metrics: Any = None

    def create(self, documents: Mapping[str, str], details: dict[str, Any]) -> None:
        """Start a new run in this folder, which must not hold one already.

        Args:
            documents: what the run is made from, text by file name: its recipe, its hardware profile.
            details: of `run.json`.

        Raises:
            CheckpointError: the folder already holds files.
        """
        if self.path.exists() and any(self.path.iterdir()):
            raise CheckpointError(
                f"The folder {self.path} is not empty; choose another --out, or continue its run with --resume."
            )
        self.path.mkdir(parents=True, exist_ok=True)
        for name, text in documents.items():
            write_atomic(self.path / name, text.encode())
        self.describe(details)

    def describe(self, details: dict[str, Any]) -> None:
        """Update `run.json` with `details`."""
        known = self.read_json(RUN) if (self.path / RUN).exists() else {"versions": versions()}
        write_json(self.path / RUN, known | details)

    def read_json(self, name: str) -> dict[str, Any]:
        """Read one of the folder's JSON files.

        Raises:
            CheckpointError: missing, or not JSON.
        """
        path = self.path / name
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise CheckpointError(f"The folder {self.path} holds no {name}, so it is not a run of scff-hw.") from None
        except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
            raise CheckpointError(f"The file {path} is not readable JSON ({error}).") from None

    def read_text(self, name: str) -> str:
        """One of the folder's text files, empty where it is not there."""
        path = self.path / name
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def log(self, **record: Any) -> None:
        """Append one line to the metrics."""
        if self._metrics is None:
            self._metrics = open(self.path / METRICS, "a", encoding="utf-8")  # noqa: SIM115 - closed by close()
        self._metrics.write(json.dumps(record) + "\n")

    def close(self) -> None:
        """Flush and close the metrics file."""
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None

    def save(self, checkpoint: Checkpoint) -> None:
        """Make `checkpoint` the one a resumed run starts from."""
        length = 0
        if self._metrics is not None:
            self._metrics.flush()
            os.fsync(self._metrics.fileno())
        if (self.path / METRICS).exists():
            length = (self.path / METRICS).stat().st_size
        position = checkpoint.position
        state = {
            "stage": position.stage,
            "epoch": position.epoch,
            "batch": position.batch,
            "metrics_bytes": length,
            "values": checkpoint.values,
        }
        write_tensors(self.path / CHECKPOINT, checkpoint.tensors, {"scff_hw": json.dumps(state)})

    def load(self) -> Checkpoint:
        """The last checkpoint; metrics logged after it are dropped, since the resumed run logs them again.

        Raises:
            CheckpointError: there is none, or it is damaged.
        """
        tensors, metadata = read_tensors(self.path / CHECKPOINT)
        try:
            state = json.loads(metadata["scff_hw"])
            position = Position(state["stage"], state["epoch"], state["batch"])
            length, values = state["metrics_bytes"], state["values"]
        except (KeyError, json.JSONDecodeError):
            raise CheckpointError(
                f"The file {self.path / CHECKPOINT} is not a checkpoint of scff-hw: its metadata holds no position."
            ) from None
        metrics = self.path / METRICS
        if metrics.exists() and metrics.stat().st_size > length:
            os.truncate(metrics, length)
        return Checkpoint(position, tensors, values)


def versions() -> dict[str, str]:
    """Versions of what determines a run's numbers."""
    names = ("scff-hw", "numpy", "torch", "safetensors", "scikit-learn")
    found = {name: version(name) for name in names if name != "scff-hw"}
    for name in ("aihwkit", "brevitas"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found | {
        "scff-hw": version("scff-hw"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": str(torch.get_num_threads()),
    }
