"""The commands of `scff-hw`. Each imports what it needs when it runs, so that `--help` is quick."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from scff_hw.cli import _bench, _data, _demo, _doctor, _export_onnx, _profiles, _recipes, _study, _train
from scff_hw.cli._boundary import guarded
from scff_hw.cli._output import emit

app = typer.Typer(
    name="scff-hw",
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Self-contrastive forward-forward learning, written for the hardware that will run it.",
    epilog="Exit codes: 0 good, 1 failed, 2 wrong use. Progress and tables go to standard error.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        emit(f"scff-hw {version('scff-hw')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        context.get_help()
        raise typer.Exit(2)


app.command("demo")(_demo.demo)
app.command("train")(_train.train)
app.command("evaluate")(_train.evaluate)
app.command("study")(_study.study)
app.add_typer(_recipes.app, name="recipes")
app.add_typer(_data.app, name="data")
app.add_typer(_profiles.app, name="profiles")
export = typer.Typer(help="Write a finished run for other runtimes and machines.")
export.callback()(lambda: None)
export.command("onnx")(_export_onnx.onnx)
app.add_typer(export, name="export")
app.command("bench")(_bench.bench)
app.command("doctor")(_doctor.doctor)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line on `argv` (by default the program's arguments) and return its exit code.

    0 good, 1 failed, 2 wrong use. Nothing is raised: every error is one sentence on standard error.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    return guarded(lambda: _invoke(arguments))


def _invoke(arguments: list[str]) -> int:
    command = typer.main.get_command(app)
    # Not command.main(): that would turn Ctrl-C and a closed pipe into its own exits.
    with command.make_context("scff-hw", arguments) as context:
        result = command.invoke(context)
    return result if isinstance(result, int) else 0
