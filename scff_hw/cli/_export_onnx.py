"""`scff-hw export onnx`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table

from scff_hw.cli._options import DataDir, Json, at_least, file_name
from scff_hw.cli._output import emit_json, say, show
from scff_hw.cli._progress import command_progress

if TYPE_CHECKING:
    from scff_hw.documents import OnnxManifest


def onnx(
    run: Annotated[Path, typer.Argument(help="A run folder that `scff-hw train` finished.")],
    out: Annotated[Path, typer.Option(callback=file_name, help="Folder to make; it must not hold anything.")],
    samples: Annotated[
        int, typer.Option(callback=at_least(1), help="Test samples that every file is checked on.")
    ] = 200,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Write a finished run as ONNX files with a model card, each checked against the library.

    A run on any backend gives float.onnx; one on the fixed backend also integer.onnx, equal to the integer reference,
    and qdq.onnx, qonnx.onnx and qoperator.onnx for runtimes and hardware tools, but not of a recurrent network. That
    takes sequences and their lengths; with one direction there is also a file of one frame at a time, step.onnx, and
    integer-step.onnx in fixed point.
    """
    from scff_hw.export.onnx.model import OnnxExporter, OnnxOptions

    with command_progress() as progress:
        options = OnnxOptions(samples)
        manifest = OnnxExporter().export_folder(run, out, options, data_dir=data_dir, progress=progress)
    if json:
        emit_json({"out": str(out)} | manifest.as_json())
        return
    show(check_table(manifest))
    for reason in dict.fromkeys(manifest.left_out.values()):
        names = [name for name, why in manifest.left_out.items() if why == reason]
        say(f"Left out: {', '.join(names)}. {reason}", style="dim")
    say(f"Exported to {out}, with a model card in README.md; checked on {manifest.samples} test samples.")


def check_table(manifest: OnnxManifest) -> Table:
    """Return one row per file and reader: accuracy on the samples, and how far it is from the library."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("file", no_wrap=True)
    table.add_column("reader")
    for name in ("samples", "accuracy", "logits equal", "largest difference"):
        table.add_column(name, justify="right")
    for name, file in manifest.files.items():
        for reader, found in file.readers.items():
            equal = "-" if file.held_to == "float" else f"{found.logits_equal:.2%}".replace("%", " %")
            accuracy = f"{found.accuracy:.2%}".replace("%", " %")
            gap = f"{found.largest_logit_difference:.1e}"
            table.add_row(name, reader, str(found.samples), accuracy, equal, gap)
    return table
