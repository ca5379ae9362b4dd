"""`scff-hw recipes`: list and show recipes."""

from __future__ import annotations

from typing import Annotated

import typer
from rich import box
from rich.table import Table

from scff_hw.cli._options import Json, Overrides
from scff_hw.cli._output import emit, emit_json, show

app = typer.Typer(help="List the packaged recipes, or show one.", no_args_is_help=False)


@app.command("list")
def list_(json: Json = False) -> None:
    """List the packaged recipes."""
    from scff_hw.recipes import list_recipes

    recipes = list_recipes()
    if json:
        emit_json({"recipes": [{"name": name, "description": text} for name, text in recipes.items()]})
        return
    table = Table("recipe", "description", box=box.SIMPLE_HEAD, pad_edge=False)
    for name, text in recipes.items():
        table.add_row(name, text)
    show(table)


@app.command("show")
def show_(
    recipe: Annotated[str, typer.Argument(help="A packaged recipe, or the path of a YAML file.")],
    overrides: Overrides = None,
    json: Json = False,
) -> None:
    """Print a resolved recipe with every key as YAML on standard output."""
    from scff_hw.recipes import dump_recipe, load_recipe

    resolved = load_recipe(recipe, overrides or [])
    if json:
        emit_json(resolved.model_dump(mode="json"))
    else:
        emit(dump_recipe(resolved))
