"""Exporters: one class per format, which takes an opened run, its own options, and an empty folder to write."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from scff_hw.documents import MANIFEST, Manifest, write_document
from scff_hw.errors import UsageError
from scff_hw.export.folder import atomic_file, atomic_folder, check_free, digests, reserved
from scff_hw.files import AnyPath
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

    If `check` or `write` raises, `out` is unchanged. An exporter has no state: one object may export many runs.

    A subclass is registered by name with `scff_hw.export.registry.EXPORTERS.register`, or by an entry point of the
    group `scff_hw.exporters`. `scff-hw export NAME` then has an option for each field of `Options` that is a bool, an
    int, a float, a str or a Path; the first paragraph of the docstring is its help.

    Attributes:
        name: name in `EXPORTERS`.
        Options: dataclass or pydantic model of the exporter's own options; it refuses values that are invalid for every
            run.
        writes_file: `out` is one file, not a folder: `write` gets its path in a temporary folder, and the manifest is
            returned but not written.
    """

    name: ClassVar[str]
    Options: ClassVar[type[Any]]
    writes_file: ClassVar[bool] = False

    def export(self, run: FinishedRun, out: AnyPath, options: O | None = None, progress: Progress | None = None) -> M:
        """Export a run to `out`; after an error nothing is written.

        Args:
            out: a folder that does not exist or is empty; with `writes_file`, a file that does not exist.
            options: an object of `Options`; None: its defaults.

        Raises:
            UsageError: `out` is not free, `options` are not of `Options`, or `check` refuses.
            BusyError: another process exports to `out`.
            ScffError: as `write`.
        """
        chosen: O = self.Options() if options is None else options
        if not isinstance(chosen, self.Options):
            raise UsageError(
                f"The options of the exporter '{self.name}' must be {self.Options.__name__}. "
                f"Got {type(chosen).__name__} instead."
            )
        out = Path(out)
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
        path: AnyPath,
        out: AnyPath,
        options: O | None = None,
        *,
        data_dir: AnyPath | None = None,
        progress: Progress | None = None,
    ) -> M:
        """Open the run in the folder `path` and export it; `out` is checked before anything is read.

        Args:
            data_dir: folder of the data sets; None: the default.

        Raises:
            CheckpointError: not a finished run.
            ScffError: as `export`.
        """
        check_free(Path(out), as_file=self.writes_file)
        return self.export(FinishedRun.open(path, data_dir, purpose="exported"), out, options, progress)

    @abstractmethod
    def check(self, run: FinishedRun, options: O) -> None:
        """Refuse a run or options that this format does not support.

        Raises:
            UsageError: one sentence: the requirement, and the value that was got.
            MissingPartError: a program or package that the export needs is not installed.
        """

    @abstractmethod
    def write(self, run: FinishedRun, options: O, out: Path, progress: Progress) -> M:
        """Write the run.

        Args:
            out: an empty folder; with `writes_file`, the path of the file to write.

        Returns:
            The manifest, without digests.

        Raises:
            CheckpointError: the run's files do not belong together.
            DataError: the run's data set is needed and is missing.
            ExportError: the written files, read back, do not give the library's results.
        """
