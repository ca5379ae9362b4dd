"""The folder of one run: definition, metrics, checkpoint and weights. Every file is written atomically.

A run begins with its first checkpoint. A folder without one has at most the files that `create` writes, `run.json`
first; a new run may start there as in an empty folder, and a resumed run starts from the beginning.

How is a run resumed bit for bit? A checkpoint is one safetensors file: the state of all arrays and optimisers, with the
position in the run (stage, epoch, batch) as JSON metadata. Random numbers follow from the seed and the position, see
`scff_hw/core/random.py`. Metrics are JSON lines; a checkpoint stores the length of the metrics file in bytes, so a
resumed run appends to that file without repeated lines.

Every tensor file contains its own digest, the identity of its run (see `RunFolder.identity`) and its name; every read
checks them. `summary.json` contains the same identity.
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
BACKPROP = "backprop.safetensors"
CHECKPOINT = "checkpoint.safetensors"
METRICS = "metrics.jsonl"

RUN_DEFINITION = (RECIPE, PROFILE, FORMATS)
"""Files that define a run, written before its first checkpoint; a backend may add its own files, `backend.*`."""


@dataclass(frozen=True)
class Position:
    """Position in a run: in `stage`, before batch `batch` of epoch `epoch` (both 0-based)."""

    stage: str
    epoch: int = 0
    batch: int = 0


@dataclass
class Checkpoint:
    """Position in a run, with all tensors needed to resume the run there.

    Attributes:
        tensors: tensors by dotted name, e.g. `layers.1.weight`, `readout.scff.weight`.
        values: JSON results of the finished stages.
    """

    position: Position
    tensors: dict[str, Tensor]
    values: dict[str, Any] = field(default_factory=dict)

    def group(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors whose names start with `prefix.`, by name without the prefix."""
        return {k[len(prefix) + 1 :]: v for k, v in self.tensors.items() if k.startswith(f"{prefix}.")}

    def restore(self, network: Network) -> None:
        """Load this checkpoint's state into every array of a network.

        Raises:
            CheckpointError: names or shapes do not match the network's arrays.
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
        """Lock this folder against other processes, and remove partial files of killed processes.

        Raises:
            BusyError: another process has the lock.
        """
        with exclusive(self.path / LOCK, self.path):
            remove_stale(self.path)
            yield

    def check_free(self) -> None:
        """Check that a new run can start in this folder.

        Raises:
            CheckpointError: the folder contains a run that began, or other files.
        """
        if not is_free(self.path):
            raise CheckpointError(
                f"The folder {self.path} is not empty; choose another --out, or continue its run with --resume."
            )

    def create(self, documents: Mapping[str, str], details: RunDetails) -> None:
        """Write the files that define a run; the run itself begins with its first checkpoint.

        Args:
            documents: text by file name: recipe, hardware profile, the backend's own files.
            details: content of run.json.

        Raises:
            CheckpointError: the folder contains a run that began, or other files.
            UsageError: a file name is not allowed.
        """
        for name in documents:
            if not defines_run(name):
                raise UsageError(f"The name of a backend's file must start with 'backend.'. Got '{name}' instead.")
        self.check_free()
        self.describe(details)
        for name in self._definition_files():
            if name not in documents:
                (self.path / name).unlink()
        for name, text in documents.items():
            write_atomic(self.path / name, text.encode())

    def describe(self, details: RunDetails) -> None:
        """Write `details` to `run.json`."""
        write_document(self.path / RUN, details)
        self._identity = None

    def details(self) -> RunDetails:
        """Read `run.json`.

        Raises:
            CheckpointError: the file is missing or not valid.
        """
        return read_document(self.path / RUN, RunDetails, self._no(RUN, "so it is not a run of scff-hw"))

    def finished(self, purpose: str) -> RunDetails:
        """Read `run.json` of a finished run; `purpose` completes the message "must be finished to be ...".

        Raises:
            CheckpointError: the folder is not a run, or the run is not finished.
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
            CheckpointError: the file is missing, not valid, or of another run than `run.json`.
        """
        path = self.path / SUMMARY
        summary = read_document(path, RunSummary, self._no(SUMMARY, "so its run is not finished"))
        details = self.details()
        for key in ("recipe", "seed", "backend", "profile"):
            expected, stored = getattr(details, key), getattr(summary, key)
            if stored != expected:
                raise CheckpointError(
                    f"The key '{key}' in the file {path} must be {json.dumps(expected)}, as in {self.path / RUN}. "
                    f"Got {json.dumps(stored)} instead."
                )
        if summary.identity not in (None, self.identity):
            raise CheckpointError(self._foreign(path))
        return summary

    def records(self) -> list[dict[str, Any]]:
        """Read the metrics file: one dict per line.

        Raises:
            CheckpointError: the file is missing, or a line is damaged.
        """
        return parse_metrics(self.path / METRICS, self._no(METRICS, "so it is not a finished run"))

    def read_text(self, name: str) -> str:
        """Read the text of file `name` in the folder; return "" if the file does not exist.

        Raises:
            CheckpointError: the file cannot be read, or is not UTF-8.
        """
        path = self.path / name
        return read_file(path) if path.exists() else ""

    @property
    def identity(self) -> str | None:
        """Digest (hex) of the run's seed, backend, data, scaling and definition files, which identifies the run.

        None in a folder without `run.json`; tensor files of such a folder are never read back.
        """
        if self._identity is None and (self.path / RUN).exists():
            details = self.details()
            data = None if details.data is None else details.data.digest
            about = [details.seed, details.backend, data, *(self.read_text(name) for name in RUN_DEFINITION)]
            about += [self.read_text(name) for name in self._definition_files() if name not in RUN_DEFINITION]
            about += [] if details.scaling is None else [details.scaling.model_dump(mode="json")]
            self._identity = hashlib.blake2b(json.dumps(about).encode(), digest_size=32).hexdigest()
        return self._identity

    def _definition_files(self) -> list[str]:
        """Return the sorted names of the files in the folder that define its run."""
        return sorted(path.name for path in self.path.iterdir() if defines_run(path.name))

    def write_tensors(self, name: str, tensors: Mapping[str, Tensor], about: Mapping[str, Any] | None = None) -> None:
        """Write `tensors` to file `name` atomically; its metadata are digest, name, the run's identity and `about`."""
        write_tensors(self.path / name, tensors, {"run": self.identity, "file": name} | dict(about or {}))

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Read the tensors of file `WEIGHTS`, `INITIAL`, `BACKPROP` or `CHECKPOINT` by dotted name.

        Raises:
            CheckpointError: the file is missing, damaged, of another run or of another name, or a weight is not finite.
        """
        tensors, _ = self._read(name)
        weights = {k: v for k, v in tensors.items() if k.startswith("layers.") or name != CHECKPOINT}
        check_finite(weights, self.path / name)
        return tensors

    def log(self, **record: Any) -> None:
        """Append `record` to the metrics file as one line of JSON."""
        if self._metrics is None:
            self._metrics = open(self.path / METRICS, "a", encoding="utf-8")  # noqa: SIM115 - closed by close()
        self._metrics.write(json.dumps(record) + "\n")

    def close(self) -> None:
        """Flush and close the metrics file."""
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None

    def save(self, checkpoint: Checkpoint) -> None:
        """Write `checkpoint`, from which a resumed run starts, with the length of the metrics file in bytes."""
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
        """Read the last checkpoint, and remove metrics logged after it, since the resumed run logs them again.

        Raises:
            CheckpointError: the checkpoint is missing or damaged, or metrics logged before it are missing.
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
        run, written_as = about.pop("run", None), about.pop("file", None)
        if run != self.identity and not (old and run is None):
            raise CheckpointError(self._foreign(path))
        if written_as not in (None, name):
            raise CheckpointError(f"The file {path} must be written as {name}. Got a copy of {written_as} instead.")
        return tensors, about

    def _foreign(self, path: Path) -> str:
        return (
            f"The file {path} does not belong to the files beside it: {RUN} (seed, backend, data, scaling), {RECIPE}, "
            f"{PROFILE} or {FORMATS} was changed, or it is of another run."
        )

    def _no(self, name: str, therefore: str) -> str:
        return f"The folder {self.path} holds no {name}, {therefore}."


def is_free(path: Path, besides: Collection[Path] = ()) -> bool:
    """Return whether a run can start in folder `path`: it does not exist, is empty, or its run never began.

    Lock files and partial files of killed processes are ignored. Definition files such as `recipe.yaml` belong to a
    run only if `run.json` exists; otherwise they may be a user's.

    Args:
        besides: paths of further files to ignore.
    """
    if not path.is_dir():
        return not path.exists()
    names = {file.name for file in path.iterdir() if file.name != LOCK and not is_partial(file) and file not in besides}
    return not names or (RUN in names and all(name == RUN or defines_run(name) for name in names))


def defines_run(name: str) -> bool:
    """Return whether a file of this name defines its run: recipe, profile, formats or a backend's own file."""
    return name in RUN_DEFINITION or (name.startswith("backend.") and Path(name).name == name)


def versions() -> dict[str, str]:
    """Return the software versions, platform and number of threads, which determine a run's results."""
    names = ("scff-hw", "numpy", "torch", "safetensors", "scikit-learn")
    packages = {name: version(name) for name in names if name != "scff-hw"}
    for name in ("aihwkit", "brevitas"):
        with suppress(PackageNotFoundError):
            packages[name] = version(name)
    return packages | {
        "scff-hw": version("scff-hw"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": str(torch.get_num_threads()),
    }
