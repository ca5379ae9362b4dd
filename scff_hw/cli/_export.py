"""`scff-hw export`: exports finished runs for other runtimes and hardware."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from scff_hw.cli import _export_crossbar, _export_nir, _export_onnx
from scff_hw.cli._export_group import ExportGroup
from scff_hw.cli._options import DataDir, Json, at_least, file_name
from scff_hw.cli._output import emit_json, say
from scff_hw.cli._progress import command_progress
from scff_hw.errors import UsageError

app = typer.Typer(cls=ExportGroup, help="Export a finished run for other runtimes and hardware.", no_args_is_help=True)
app.command("onnx")(_export_onnx.onnx)
app.command("crossbar")(_export_crossbar.crossbar)
app.command("nir")(_export_nir.nir)


@app.command("c")
def c(
    run: Annotated[Path, typer.Argument(help="A finished run of the fixed backend.")],
    target: Annotated[
        str,
        typer.Option(
            help="host, cortex-m0, cortex-m3, cortex-m4, cortex-m7, cortex-m33, cortex-m55, or the file of a profile "
            "of a chip with one of these cores."
        ),
    ] = "host",
    profile_set: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Change a key of the target's profile; repeatable.")
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            callback=at_least(2), help="Learning batch size, for which memory is counted [default: 8]."
        ),
    ] = None,
    learn: Annotated[
        int,
        typer.Option(
            callback=at_least(0),
            help="Also write an image that learns, with a stream of this number of training samples.",
        ),
    ] = 0,
    epochs: Annotated[
        int | None, typer.Option(callback=at_least(1), help="Passes over these samples [default: 1].")
    ] = None,
    labels: Annotated[
        int | None, typer.Option(callback=at_least(1), help="Labelled samples for the readout [default: as --learn].")
    ] = None,
    tests: Annotated[
        int | None, typer.Option(callback=at_least(1), help="Test samples classified at the end [default: 1000].")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(callback=file_name, help="New or empty folder [default: RUN/c-TARGET].")
    ] = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Export C that classifies and continues to learn: sources, weights, golden vectors, a selftest, a Makefile.

    With --learn, `make learn` in the folder starts from random weights, learns from the stream and reaches the
    integers and the accuracy of the integer reference.
    """
    from scff_hw.export.c.model import CExporter, COptions
    from scff_hw.export.c.stream import Lesson

    folder = out or run / f"c-{Path(target).stem}"
    if not learn:
        for option, value in (("epochs", epochs), ("labels", labels), ("tests", tests)):
            if value is not None:
                raise UsageError(f"--{option} belongs to --learn. Got --{option} {value} without it.")
    lesson = Lesson(learn, labels or learn, tests or 1000, epochs or 1) if learn else None
    options = COptions(target, tuple(profile_set or ()), batch, lesson)
    with command_progress() as progress:
        manifest = CExporter().export_folder(run, folder, options, data_dir=data_dir, progress=progress)
    if json:
        emit_json({"folder": str(folder)} | manifest.as_json())
        return
    for row in manifest.memory:
        say(f"{row.bytes:>9} bytes {row.where:<5}  {row.buffer}")
    say(f"{manifest.flash_bytes:>9} bytes of flash and {manifest.ram_bytes} of RAM, beside the program")
    say(f"Folder: {folder}   Check it: make -C {quote(str(folder))} run")
    if result := manifest.lesson:
        say(
            f"After {result.samples} samples the reference has {result.correct} of {result.tests} right "
            f"({result.correct_untrained} where only the readout learns). "
            f"Learn the same: make -C {quote(str(folder))} learn"
        )
