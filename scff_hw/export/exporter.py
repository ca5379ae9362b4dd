"""Exporters: one class per format, given an opened run, its own options, and an empty folder to write."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from scff_hw.documents import MANIFEST, Manifest, write_document
from scff_hw.errors import UsageError
from scff_hw.export.folder import atomic_file, atomic_folder, check_free, digests, reserved
from scff_hw.registry import Registry
from scff_hw.training.finished import FinishedRun
from scff_hw.training.progress import Progress, SilentProgress

O = TypeVar("O")  # noqa: E741 - options
M = TypeVar("M", bound=Manifest)


class Exporter(ABC, Generic[O, M]):
    """Writes finished runs in one format.

    A caller opens the run and calls `export`; `export` calls the two methods that a subclass defines:

        run = FinishedRun.open(path)
        MyExporter().export(run, out, MyExporter.Options(...))
          ├─ lock `out`, which must not exist or be empty
          ├─ check(run, options)                     refuses; nothing is computed or written yet
          ├─ write(run, options, folder, progress)   into a hidden folder beside `out`; returns the manifest
          ├─ SHA-256 of every file, manifest.json
          └─ the hidden folder becomes `out`

    Where `check` or `write` raises, `out` is as it was. An exporter has no state: one object may export many runs.

    A subclass becomes known by its name with `EXPORTERS.register`, or by an entry point of the group
    `scff_hw.exporters`.

    Attributes:
        name: in `EXPORTERS`.
        Options: dataclass or model of the exporter's own options; it refuses values that suit no run.
        writes_file: `out` is one file, not a folder: `write` is given its path in a temporary folder, and the manifest
            is returned but not written.
    """

    name: ClassVar[str]
    Options: ClassVar[type[Any]]
    writes_file: ClassVar[bool] = False

    def export(self, run: FinishedRun, out: Path, options: O | None = None, progress: Progress | None = None) -> M:
        """Export a run to `out`, whole or not at all.

        Args:
            out: a folder that does not exist or is empty; a file that does not exist where `writes_file`.
            options: an object of `Options`; None: its defaults.

        Raises:
            UsageError: `out` is not free, or `check` refuses.
            BusyError: another process exports to it.
            ScffError: as `write` says.
        """
        chosen: O = self.Options() if options is None else options
        progress = progress or SilentProgress()
        with reserved(out, as_file=self.writes_file):
            self.check(run, chosen)
            if self.writes_file:
                with atomic_file(out) as file:
                    return self.write(run, chosen, file, progress)
            with atomic_folder(out) as folder:
                manifest = self.write(run, chosen, folder, progress)
                manifest = manifest.with_digests(digests(folder))
                write_document(folder / MANIFEST, manifest)
        return manifest

    def export_folder(
        self,
        path: Path,
        out: Path,
        options: O | None = None,
        *,
        data_dir: Path | None = None,
        progress: Progress | None = None,
    ) -> M:
        """Open the run in the folder `path` and export it; `out` is checked before anything is read.

        Args:
            data_dir: folder of the data sets; None: the default.

        Raises:
            CheckpointError: not a finished run.
            ScffError: as `export` says.
        """
        check_free(out, as_file=self.writes_file)
        return self.export(FinishedRun.open(path, data_dir, purpose="exported"), out, options, progress)

    @abstractmethod
    def check(self, run: FinishedRun, options: O) -> None:
        """Refuse a run or options that this format cannot take.

        Raises:
            UsageError: one sentence: what must hold, and what was found.
            MissingPartError: a program or package that the export needs is not installed.
        """

    @abstractmethod
    def write(self, run: FinishedRun, options: O, out: Path, progress: Progress) -> M:
        """Write the run.

        Args:
            out: an empty folder, or the path of the file to write where `writes_file`.

        Returns:
            The manifest, without digests.

        Raises:
            CheckpointError: the run's files do not belong together.
            DataError: the run's data set is needed and is not there.
            ExportError: what was written, read back, does not answer as the library does.
        """


def _checked(found: object) -> type[Exporter[Any, Any]]:
    if not (isinstance(found, type) and issubclass(found, Exporter)) or inspect.isabstract(found):
        raise UsageError(f"An exporter must be a subclass of Exporter with check and write. Got {found!r} instead.")
    return found


EXPORTERS: Registry[type[Exporter[Any, Any]]] = Registry(
    "exporter",
    _checked,
    {
        "c": "scff_hw.export.c.model:CExporter",
        "crossbar": "scff_hw.export.crossbar.model:CrossbarExporter",
        "nir": "scff_hw.export.nir.model:NirExporter",
        "onnx": "scff_hw.export.onnx.model:OnnxExporter",
    },
)
"""Exporters by name: those of scff-hw, those registered, and those of entry points in the group scff_hw.exporters."""
