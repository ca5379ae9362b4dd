"""The commands of `scff-hw`. Each imports what it needs when it runs, so that `--help` is quick."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

import typer
from rich.markup import escape

from scff_hw.cli import _bench, _data, _demo, _doctor, _export, _profiles, _recipes, _study, _train
from scff_hw.cli._output import emit
from scff_hw.cli._study_options import StudyCommand
from scff_hw.errors import UsageError

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
app.command("study", cls=StudyCommand)(_study.study)
app.add_typer(_export.app, name="export")
app.add_typer(_recipes.app, name="recipes")
app.add_typer(_data.app, name="data")
app.add_typer(_profiles.app, name="profiles")
app.command("bench")(_bench.bench)
app.command("doctor")(_doctor.doctor)


@cache
def command() -> Any:
    """The root command, whose help texts are shown as they are written: typer would take `[...]` for markup."""
    root = typer.main.get_command(app)
    _escape_help(root)
    return root


def _escape_help(part: Any) -> None:
    """Escape the texts of a command, its parameters and the commands below it for rich."""
    for name in ("help", "short_help", "epilog"):
        if text := getattr(part, name, None):
            setattr(part, name, escape(text))
    for inner in (*getattr(part, "params", ()), *getattr(part, "commands", {}).values()):
        _escape_help(inner)


def invoke(arguments: list[str]) -> int:
    """Run the command that `arguments` name, and return its exit code; errors are raised.

    Raises:
        UsageError: an argument that is not UTF-8 text: every one may have to be written into a file.
    """
    for argument in arguments:
        if any("\ud800" <= character <= "\udfff" for character in argument):
            raise UsageError(f"The arguments must be UTF-8 text. Got {argument!a} instead.")
    # Not command.main(): that would turn Ctrl-C and a closed pipe into its own exits.
    with command().make_context("scff-hw", arguments) as context:
        result = command().invoke(context)
    return result if isinstance(result, int) else 0
