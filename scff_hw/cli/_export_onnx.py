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
    out: Annotated[Path, typer.Option(callback=file_name, help="New or empty folder.")],
    samples: Annotated[
        int, typer.Option(callback=at_least(1), help="Number of test samples for the check of every file.")
    ] = 200,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Export a finished run as ONNX files with a model card, each compared with the library.

    Runs on any backend give float.onnx. Runs on the fixed backend also give integer.onnx, equal to the integer
    reference, and for feed-forward networks qdq.onnx, qonnx.onnx and qoperator.onnx for runtimes and hardware tools.
    Recurrent networks take sequences and their lengths; with one direction there is also step.onnx for single frames,
    and integer-step.onnx in fixed point.
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
    """Return a table with one row per file and reader: accuracy and deviation from the library."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("file", no_wrap=True)
    table.add_column("reader")
    for name in ("samples", "accuracy", "logits equal", "largest difference"):
        table.add_column(name, justify="right")
    for name, file in manifest.files.items():
        for reader, result in file.readers.items():
            equal = "-" if file.held_to == "float" else f"{result.logits_equal:.2%}".replace("%", " %")
            accuracy = f"{result.accuracy:.2%}".replace("%", " %")
            gap = f"{result.largest_logit_difference:.1e}"
            table.add_row(name, reader, str(result.samples), accuracy, equal, gap)
    return table
