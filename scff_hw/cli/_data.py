"""`scff-hw data`: list, fetch and verify data sets; describe data of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from scff_hw.cli._options import DataDir, Json, Overrides
from scff_hw.cli._output import emit_json, say, show
from scff_hw.cli._progress import CommandProgress, command_progress
from scff_hw.errors import DataError, UsageError

app = typer.Typer(help="List, fetch and verify data sets; describe your own.")

MOST_SHOWN = 12
"""Longest list of classes that `describe` prints."""

Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="Data sets; see: scff-hw data list")]


@app.command("list")
def list_(data_dir: DataDir = None, json: Json = False) -> None:
    """List the data sets and whether they are present."""
    from scff_hw.data import NAMES, data_root, info

    entries = [info(name) for name in NAMES]
    present = {entry.name: entry.bundled or _is_complete(entry.name, data_dir) for entry in entries}
    root = data_root(data_dir)
    if json:
        rows = [
            {
                "name": entry.name,
                "description": entry.description,
                "download_bytes": entry.download_bytes,
                "licence": entry.licence,
                "source": entry.source,
                "present": present[entry.name],
            }
            for entry in entries
        ]
        emit_json({"data_dir": str(root), "data": rows})
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("name", "download", "here", "what", "licence"):
        table.add_column(title, no_wrap=title in ("name", "download", "here"))
    for entry in entries:
        size = "bundled" if entry.bundled else megabytes(entry.download_bytes)
        table.add_row(entry.name, size, "yes" if present[entry.name] else "no", entry.description, entry.licence)
    show(table)
    say(f"Data directory: {root}")


@app.command("fetch")
def fetch(names: Names, data_dir: DataDir = None, json: Json = False) -> None:
    """Download and check data sets; an interrupted download resumes."""
    from scff_hw.data import fetch as fetch_data
    from scff_hw.data import info

    for name in names:
        info(name)
    root = Path()
    with command_progress() as progress:
        for name in names:
            report = _Download(progress)
            root = fetch_data(name, data_dir, report)
            report.end()
            progress.note(f"{name} is whole in {root}" if not info(name).bundled else f"{name} needs no download")
    if json:
        emit_json({"data_dir": str(root), "data": [{"name": name, "present": True} for name in names]})


@app.command("verify")
def verify(names: Names, data_dir: DataDir = None, json: Json = False) -> None:
    """Check that data sets are present and complete."""
    from scff_hw.data import info
    from scff_hw.data import verify as verify_data

    verified = {name: verify_data(name, data_dir) for name in names}
    if json:
        rows = [
            {"path": str(part.path), "bytes": part.size_bytes, "checked": part.how}
            for parts in verified.values()
            for part in parts
        ]
        emit_json({"data": list(verified), "files": rows})
        return
    table = Table("data set", "file", "size", "checked", box=box.SIMPLE_HEAD, pad_edge=False)
    for name, parts in verified.items():
        for part in parts:
            table.add_row(name, part.path.name, megabytes(part.size_bytes), part.how)
        if not parts:
            table.add_row(name, f"comes with {info(name).comes_with}", "", "")
    show(table)


@app.command("describe")
def describe(
    path: Annotated[
        Path, typer.Argument(help=".npz, .csv or .parquet file, or a folder of .npy files or of images per class.")
    ],
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write a recipe to start from; must not exist.")] = None,
    json: Json = False,
) -> None:
    """Check data of your own, say what was found, and write a recipe to start from."""
    from scff_hw.data.own import read_own
    from scff_hw.files import write_atomic
    from scff_hw.recipes import dump_yaml, parse_recipe, starting_recipe

    if out is not None and out.exists():
        raise UsageError(f"The recipe {out} exists already; give another name with --out.")
    values = starting_recipe(path, overrides or [])
    recipe = parse_recipe(dump_yaml(values), str(out or "the recipe"))
    own = recipe.data.own
    assert own is not None
    parts = read_own(own)
    counts = {part: len(samples) for part, samples in parts.samples.items()}
    found = {
        "kind": own.kind,
        "shape": list(parts.shape),
        "samples": counts,
        "classes": {name: int((parts.labels["train"] == k).sum()) for k, name in enumerate(parts.classes)},
        "features": list(parts.features),
        "notes": list(parts.notes),
    }
    if out is not None:
        write_atomic(out, dump_yaml(values).encode())
    if json:
        emit_json(found | {"recipe": None if out is None else str(out)})
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_header=False)
    table.add_row("kind", own.kind)
    table.add_row("sample", " x ".join(map(str, parts.shape)) + (" features" if len(parts.shape) == 1 else " pixels"))
    for part, count in counts.items():
        table.add_row(f"{part} samples", str(count))
    shown = [f"{name} ({count})" for name, count in list(found["classes"].items())[:MOST_SHOWN]]
    more = len(parts.classes) - len(shown)
    table.add_row("classes (train)", ", ".join(shown) + (f" and {more} more" if more else ""))
    show(table)
    for note in parts.notes:
        say(note)
    say(f"Next: scff-hw train {out}" if out is not None else "Write a recipe with: --out my-recipe.yaml")


def megabytes(count: int) -> str:
    """Return a size in megabytes (10^6 bytes) as text."""
    return f"{count / 1e6:,.1f} MB".replace(",", " ")


def _is_complete(name: str, data_dir: Path | None) -> bool:
    from scff_hw.data import verify as verify_data

    try:
        verify_data(name, data_dir, recorded=False)
    except DataError:
        return False
    return True


class _Download:
    """Progress of a download, file by file, in kilobytes."""

    def __init__(self, progress: CommandProgress) -> None:
        self._progress = progress
        self._file = ""
        self._done = 0

    def __call__(self, file: str, done_bytes: int, total_bytes: int) -> None:
        done = done_bytes // 1000
        if file != self._file or done < self._done:
            self.end()
            self._progress.start(f"{file}, kB", max(done, total_bytes // 1000), done)
            self._file, self._done = file, done
        self._progress.advance(done - self._done)
        self._done = done

    def end(self) -> None:
        if self._file:
            self._progress.finish()
        self._file = ""
