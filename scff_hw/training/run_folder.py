"""A run folder: what was run, its metrics, its checkpoint, its weights. Everything is written atomically.

A run begins with its first checkpoint. A folder whose run never reached it holds only what `create` writes before it,
`run.json` first; a new run may start there as in an empty folder, and a resumed one starts from the beginning.

A checkpoint is one safetensors file: tensors, and the position in the run as JSON in its metadata. Metrics are JSON
lines; a checkpoint remembers how long that file was, so a resumed run continues it without repeats. Every tensor file
carries a digest of itself and the identity of its run (see `RunFolder.identity`); both are checked at every read.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scff_hw.core.network import Network
from scff_hw.documents import (
    SCHEMA,
    CheckpointState,
    RunDetails,
    RunSummary,
    parse_document,
    parse_metrics,
    read_document,
    read_file,
    write_document,
)
from scff_hw.errors import CheckpointError, UsageError
from scff_hw.files import LOCK, exclusive, is_partial, remove_stale, write_atomic
from scff_hw.tensor_file import check_finite, read_tensors, write_tensors

RECIPE = "recipe.yaml"
PROFILE = "profile.yaml"
FORMATS = "formats.json"
RUN = "run.json"
SUMMARY = "summary.json"
WEIGHTS = "weights.safetensors"
INITIAL = "initial.safetensors"
CHECKPOINT = "checkpoint.safetensors"
METRICS = "metrics.jsonl"

RUN_DEFINITION = (RECIPE, PROFILE, FORMATS)
"""What a run is made from, written before its first checkpoint; beside it a backend's own files, `backend.*`."""


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


class RunFolder:
    """One run's folder on disk.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._metrics: Any = None
        self._identity: str | None = None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from running in this folder; what killed ones left half-written is removed.

        Raises:
            BusyError: another process runs in it.
        """
        with exclusive(self.path / LOCK, self.path):
            remove_stale(self.path)
            yield

    def check_free(self) -> None:
        """Refuse a folder in which no run can start.

        Raises:
            CheckpointError: it holds a run that began, or other files.
        """
        if not is_free(self.path):
            raise CheckpointError(
                f"The folder {self.path} is not empty; choose another --out, or continue its run with --resume."
            )

    def create(self, documents: Mapping[str, str], details: RunDetails) -> None:
        """Write what a run is made from; it begins with its first checkpoint.

        Args:
            documents: text by file name: its recipe, its hardware profile, what its backend stores.

        Raises:
            CheckpointError: the folder holds a run that began, or other files.
            UsageError: a file of another name.
        """
        for name in documents:
            if not defines_run(name):
                raise UsageError(f"The name of a backend's file must start with 'backend.'. Got '{name}' instead.")
        self.check_free()
        self.describe(details)
        for left in self._definition_files():
            if left not in documents:
                (self.path / left).unlink()
        for name, text in documents.items():
            write_atomic(self.path / name, text.encode())

    def describe(self, details: RunDetails) -> None:
        """Write `run.json`."""
        write_document(self.path / RUN, details)
        self._identity = None

    def details(self) -> RunDetails:
        """Read `run.json`.

        Raises:
            CheckpointError: missing, or not what a run writes there.
        """
        return read_document(self.path / RUN, RunDetails, self._no(RUN, "so it is not a run of scff-hw"))

    def finished(self, purpose: str) -> RunDetails:
        """The same of a run that was trained to its end; `purpose` completes "must be finished to be ...".

        Raises:
            CheckpointError: not a run, or not finished.
        """
        details = self.details()
        if details.status != "done":
            raise CheckpointError(
                f"The run in {self.path} must be finished to be {purpose}, but it is {details.status}."
            )
        return details

    def summary(self) -> RunSummary:
        """Read `summary.json`.

        Raises:
            CheckpointError: missing, or not what a run writes there.
        """
        return read_document(self.path / SUMMARY, RunSummary, self._no(SUMMARY, "so its run is not finished"))

    def records(self) -> list[dict[str, Any]]:
        """The lines of the metrics.

        Raises:
            CheckpointError: there are none, or a line is damaged.
        """
        return parse_metrics(self.path / METRICS, self._no(METRICS, "so it is not a finished run"))

    def read_text(self, name: str) -> str:
        """One of the folder's text files, empty where it is not there.

        Raises:
            CheckpointError: it cannot be read, or is not UTF-8.
        """
        path = self.path / name
        return read_file(path) if path.exists() else ""

    @property
    def identity(self) -> str | None:
        """What tells this run from others: a digest of its seed, backend, data and of what it is made from.

        None in a folder without `run.json`, where nothing is read back.
        """
        if self._identity is None and (self.path / RUN).exists():
            details = self.details()
            data = None if details.data is None else details.data.digest
            about = [details.seed, details.backend, data, *(self.read_text(name) for name in RUN_DEFINITION)]
            about += [self.read_text(name) for name in self._definition_files() if name not in RUN_DEFINITION]
            self._identity = hashlib.blake2b(json.dumps(about).encode(), digest_size=32).hexdigest()
        return self._identity

    def _definition_files(self) -> list[str]:
        """Files of the folder that its run is made from."""
        return sorted(path.name for path in self.path.iterdir() if defines_run(path.name))

    def write_tensors(self, name: str, tensors: Mapping[str, Tensor], about: Mapping[str, Any] | None = None) -> None:
        """Write one of the run's tensor files atomically, with its digest and the run's identity."""
        write_tensors(self.path / name, tensors, {"run": self.identity} | dict(about or {}))

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Read `WEIGHTS`, `INITIAL`, or the arrays of the last checkpoint.

        Raises:
            CheckpointError: missing or damaged, of another run, or a weight is not finite.
        """
        tensors, _ = self._read(name)
        weights = {k: v for k, v in tensors.items() if k.startswith("layers.") or name != CHECKPOINT}
        check_finite(weights, self.path / name)
        return tensors

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
        self.write_tensors(CHECKPOINT, checkpoint.tensors, state)

    def load(self) -> Checkpoint:
        """The last checkpoint; metrics logged after it are dropped, since the resumed run logs them again.

        Raises:
            CheckpointError: there is none, it is damaged, or metrics from before it are missing.
        """
        path, metrics = self.path / CHECKPOINT, self.path / METRICS
        tensors, about = self._read(CHECKPOINT)
        if "stage" not in about:
            raise CheckpointError(f"The file {path} is not a checkpoint of scff-hw: its metadata holds no position.")
        state = parse_document(json.dumps(about), CheckpointState, f"{path} (its metadata)")
        length = metrics.stat().st_size if metrics.exists() else 0
        if length < state.metrics_bytes:
            raise CheckpointError(
                f"The file {metrics} must have at least the {state.metrics_bytes} bytes that it had at the last "
                f"checkpoint. Got {length} instead."
            )
        if length > state.metrics_bytes:
            os.truncate(metrics, state.metrics_bytes)
        return Checkpoint(Position(state.stage, state.epoch, state.batch), tensors, about["values"])

    def _read(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        path = self.path / name
        old = self.details().schema_version < SCHEMA
        tensors, about = read_tensors(path, before_digests=old)
        if not old and about.pop("run", None) != self.identity:
            raise CheckpointError(
                f"The file {path} does not belong to the files beside it: {RUN} (seed, backend, data), {RECIPE}, "
                f"{PROFILE} or {FORMATS} was changed, or it is of another run."
            )
        return tensors, about

    def _no(self, name: str, therefore: str) -> str:
        return f"The folder {self.path} holds no {name}, {therefore}."


def is_free(path: Path, besides: Collection[Path] = ()) -> bool:
    """Whether a run can start in a folder: it does not exist, is empty, or its run never began.

    Lock files, and what killed processes left half-written, count as nothing. `recipe.yaml` and the like count as left
    by a run only beside a `run.json`: they may be a user's.

    Args:
        besides: what else counts as nothing.
    """
    if not path.is_dir():
        return not path.exists()
    names = {each.name for each in path.iterdir() if each.name != LOCK and not is_partial(each) and each not in besides}
    return not names or (RUN in names and all(name == RUN or defines_run(name) for name in names))


def defines_run(name: str) -> bool:
    """Whether a file of a run folder is among those that the run is made from."""
    return name in RUN_DEFINITION or (name.startswith("backend.") and Path(name).name == name)


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
