"""Export of a finished run as C that classifies and learns: sources, weights, golden vectors, selftest, build files."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from scff_hw import paths
from scff_hw.core.rules import rule_class
from scff_hw.documents import CManifest
from scff_hw.errors import UsageError
from scff_hw.export.c.feed_forward import feed_forward_values
from scff_hw.export.c.recurrent import FILES, recurrent_values
from scff_hw.export.c.sizes import function_sizes
from scff_hw.export.c.stream import STREAM, Lesson, write_stream
from scff_hw.export.c.targets import Device, device
from scff_hw.export.c.values import CommonValues
from scff_hw.export.exporter import Exporter
from scff_hw.export.fixed_recurrent_run import RecurrentRun, has_one_direction
from scff_hw.export.fixed_run import IntegerRun, require_feed_forward, require_fixed
from scff_hw.export.toolchain import rendered
from scff_hw.files import AnyPath
from scff_hw.training.finished import FinishedRun
from scff_hw.training.progress import Progress


@dataclass(frozen=True)
class COptions:
    """Attributes:
    target: "host", a shipped digital profile with a core, or the file of one.
    overrides: dotted `key=value` assignments to that profile.
    batch: samples per learning batch, which must fit the device's memories; None: 8, or fewer where the accumulators
        would overflow.
    lesson: the stream of samples for an image that learns; None: no such image.
    """

    target: str = "host"
    overrides: tuple[str, ...] = ()
    batch: int | None = None
    lesson: Lesson | None = None

    def __post_init__(self) -> None:
        _ = self.device  # raises for an unknown target

    @cached_property
    def device(self) -> Device:
        """The target with its memories; errors as in `targets.device`."""
        return device(self.target, self.overrides)


class CExporter(Exporter[COptions, CManifest]):
    """Exports a run of the fixed backend as C that classifies and learns."""

    name = "c"
    Options = COptions

    def check(self, run: FinishedRun, options: COptions) -> None:
        require_fixed(run)
        if has_one_direction(run.recipe):
            if options.batch is not None or options.lesson is not None:
                raise UsageError(
                    "C of a recurrent layer takes one step at a time, and no stream of samples is written for it. "
                    f"Got {'--batch' if options.lesson is None else '--learn'} for {run.path}."
                )
        else:
            require_feed_forward(run)
        _check_rule(run)

    def write(self, run: FinishedRun, options: COptions, out: Path, progress: Progress) -> CManifest:
        if has_one_direction(run.recipe):
            manifest = self._write_recurrent(run, options, out, progress)
        else:
            manifest = self._write_layers(run, options, out, progress)
        return manifest.model_copy(update={"code": function_sizes(out, options.device)})

    def _write_layers(self, run: FinishedRun, options: COptions, out: Path, progress: Progress) -> CManifest:
        network = IntegerRun.of(run)
        progress.start("weights and golden vectors", len(network.layers))
        values, manifest = feed_forward_values(network, options.device, options.batch, options.lesson, progress)
        progress.finish()
        _write(out, values, options.device, _files(values.file, values.learns))
        if options.lesson is None:
            return manifest
        lesson = write_stream(network, options.lesson, values.batch, out / STREAM, progress)
        return manifest.model_copy(update={"lesson": lesson})

    def _write_recurrent(self, run: FinishedRun, options: COptions, out: Path, progress: Progress) -> CManifest:
        progress.start("weights and golden vectors", 1)
        values, manifest = recurrent_values(RecurrentRun.of(run), options.device, progress)
        progress.finish()
        files = {template: name.format(file=values.file) for template, name in FILES.items()}
        _write(out, values, options.device, files)
        return manifest


def export_c(
    run: AnyPath,
    out: AnyPath,
    target: str = "host",
    data_dir: AnyPath | None = None,
    *,
    overrides: Iterable[str] = (),
    batch: int | None = None,
    lesson: Lesson | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write a finished run of the fixed backend as a folder of C; after an error there is no folder.

    Args:
        out: a folder that does not exist, or is empty.
        target, overrides, batch, lesson: see `COptions`.

    Returns:
        The folder's `manifest.json`.

    Raises:
        UsageError: the run, the folder or the target cannot be used, or the target is too small.
        ProfileError: the target's profile cannot be used.
        CheckpointError: not a finished run.
        DataError: the data set, from which golden vectors are computed, is missing.
    """
    options = COptions(target, tuple(overrides), batch, lesson)
    return CExporter().export_folder(run, out, options, data_dir=data_dir, progress=progress).as_json()


def _check_rule(run: FinishedRun) -> None:
    rule = rule_class(run.recipe.training.rule.name)
    if rule.needs_labels or rule.own_pairs:
        raise UsageError(
            "The rule of a run to export as C must need no labels and no pairs of its own, such as scff. "
            f"Got '{rule.name}' in {run.path} instead."
        )


def _files(file: str, learns: bool) -> dict[str, str]:
    """Return the file names by template name."""
    same = ["selftest.h", "selftest.c", "main.c", "Makefile", "CMakeLists.txt", "README.md"]
    return {
        "model.h": f"{file}.h",
        "model.c": f"{file}.c",
        **{name: name for name in [*same, *(["learn.c"] if learns else [])]},
    }


def _write(folder: Path, values: CommonValues, to: Device, files: dict[str, str]) -> None:
    source = paths.export() / "c"
    for part in ("include", "src"):
        _copy_sources(source / part, folder / "scff" / part)
    if to.profile is not None:
        _copy_sources(source / "board", folder / "board")
        files = files | {"link.ld": "board/link.ld"}
    for template, name in files.items():
        (folder / name).write_text(rendered("c", template, vars(values)), encoding="utf-8")


def _copy_sources(source: Path, folder: Path) -> None:
    """Copy C files and headers, without the files that editors and analysers leave beside them."""
    folder.mkdir(parents=True)
    for path in sorted(source.glob("*.[ch]")):
        shutil.copyfile(path, folder / path.name)
