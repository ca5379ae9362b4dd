"""`scff-hw export nir`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from scff_hw.cli._options import DataDir, Json, at_least, file_name
from scff_hw.cli._output import emit_json, say


def nir(
    run: Annotated[Path, typer.Argument(help="A run folder that `scff-hw train` finished.")],
    out: Annotated[Path, typer.Option(callback=file_name, help="New file.")],
    samples: Annotated[int, typer.Option(callback=at_least(1), help="Number of test samples for the check.")] = 300,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Export the linear parts of a finished run as a NIR file, with the other steps as metadata, in float32.

    NIR has no nodes that standardise or rectify, so the parts are not connected: the reader must implement the steps.
    """
    from scff_hw.export.nir.model import NirExporter, NirOptions

    manifest = NirExporter().export_folder(run, out, NirOptions(samples), data_dir=data_dir)
    if json:
        emit_json({"file": str(out)} | manifest.as_json())
        return
    kinds = Counter(kind for kind in manifest.nodes.values() if kind not in ("Input", "Output"))
    say(f"Nodes: {', '.join(f'{count} {kind}' for kind, count in kinds.items())}, each between an Input and an Output.")
    between = dict.fromkeys(str(step["op"]) for step in manifest.steps if step["op"] != "node")
    say(f"Left to the reader, as steps in the metadata: {', '.join(between)}.")
    say(
        f"Exported to {out}; checked on {manifest.samples} test samples, {manifest.accuracy:.2%} right, "
        f"logits within {manifest.largest_logit_difference:.1e} of the library's."
    )
