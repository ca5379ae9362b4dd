"""The commands of `scff-hw`. Commands import their modules when they run, so that `--help` is fast."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

import typer
from rich.markup import escape

from scff_hw.cli import _bench, _data, _demo, _doctor, _evaluate, _export, _profiles, _recipes, _study, _train
from scff_hw.cli._output import emit
from scff_hw.cli._study_options import StudyCommand
from scff_hw.errors import UsageError

app = typer.Typer(
    name="scff-hw",
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Self-contrastive forward-forward learning for hardware: float, fixed-point and analog backends.",
    epilog="Exit codes: 0 success, 1 failure, 2 wrong use. Progress and tables go to standard error.",
)


def _version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version

        emit(f"scff-hw {version('scff-hw')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        context.get_help()
        raise typer.Exit(2)


app.command("demo")(_demo.demo)
app.command("train")(_train.train)
app.command("evaluate")(_evaluate.evaluate)
app.command("study", cls=StudyCommand)(_study.study)
app.add_typer(_export.app, name="export")
app.add_typer(_recipes.app, name="recipes")
app.add_typer(_data.app, name="data")
app.add_typer(_profiles.app, name="profiles")
app.command("bench")(_bench.bench)
app.command("doctor")(_doctor.doctor)


@cache
def command() -> Any:
    """Return the root command with escaped help texts; otherwise typer interprets `[...]` as markup."""
    root = typer.main.get_command(app)
    _escape_help(root)
    return root


def _escape_help(part: Any) -> None:
    """Escape the help texts of a command, its parameters and its subcommands for rich."""
    for name in ("help", "short_help", "epilog"):
        if text := getattr(part, name, None):
            setattr(part, name, escape(text))
    for inner in (*getattr(part, "params", ()), *getattr(part, "commands", {}).values()):
        _escape_help(inner)


def invoke(arguments: list[str]) -> int:
    """Run the command given by `arguments` and return its exit code; errors are raised.

    Raises:
        UsageError: an argument is not UTF-8 text; arguments are written to files.
    """
    for argument in arguments:
        if any("\ud800" <= character <= "\udfff" for character in argument):
            raise UsageError(f"The arguments must be UTF-8 text. Got {argument!a} instead.")
    # Not command.main(), which handles Ctrl-C and closed pipes itself.
    with command().make_context("scff-hw", arguments) as context:
        result = command().invoke(context)
    return result if isinstance(result, int) else 0
