"""`scff-hw export`: finished runs for other machines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scff_hw.cli import _export_nir, _export_onnx
from scff_hw.cli._options import DataDir, Json
from scff_hw.cli._output import emit_json, say

app = typer.Typer(help="Write a finished run for other runtimes and machines.", no_args_is_help=True)
app.command("onnx")(_export_onnx.onnx)
app.command("nir")(_export_nir.nir)


@app.command("c")
def c(
    run: Annotated[Path, typer.Argument(help="A finished run of the fixed backend.")],
    target: Annotated[
        str, typer.Option(help="host, cortex-m0, cortex-m3, cortex-m4, cortex-m7, cortex-m33 or cortex-m55.")
    ] = "host",
    out: Annotated[Path | None, typer.Option(help="New or empty folder [default: RUN/c-TARGET].")] = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Write C that classifies and keeps learning: sources, weights, golden vectors, a selftest, a build."""
    from scff_hw.export.c import export_c

    folder = out or run / f"c-{target}"
    manifest = export_c(run, folder, target, data_dir)
    if json:
        emit_json({"folder": str(folder)} | manifest)
        return
    for row in manifest["memory"]:
        say(f"{row['bytes']:>9} bytes {row['where']:<5}  {row['buffer']}")
    say(f"Folder: {folder}   Check it: make -C {folder} run")
