"""Subcommands of `scff-hw export` for exporters of other packages, with an option per field of their `Options`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin, get_type_hints

import typer
from rich.markup import escape
from typer.core import TyperGroup

from scff_hw.cli._options import DataDir, Json, file_name
from scff_hw.cli._output import emit_json, say
from scff_hw.cli._progress import command_progress
from scff_hw.errors import ScffError, UsageError

if TYPE_CHECKING:
    from scff_hw.export.exporter import Exporter

TYPES = (bool, int, float, str, Path)
"""Types of fields for which there is an option; None is allowed beside each."""

TAKEN = ("run", "out", "data_dir", "json")
"""Parameters of every command; a field of one of these names has no option."""


class ExportGroup(TyperGroup):
    """The group `export`: its own commands, and one per further exporter in the registry."""

    def list_commands(self, ctx: Any) -> list[str]:
        from scff_hw.export.registry import EXPORTERS

        return [*self.commands, *(name for name in EXPORTERS.names() if name not in self.commands)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if (own := super().get_command(ctx, cmd_name)) is not None or cmd_name not in self.list_commands(ctx):
            return own
        return _command(cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As typer's, but the message for an unknown name lists the exporters of other packages too."""
        if not args[0].startswith("-") and args[0] not in (names := self.list_commands(ctx)):
            from scff_hw.errors import nearest

            raise UsageError(
                f"The exporter must be one of {', '.join(names)}. Got '{args[0]}' instead{nearest(args[0], names, '.')}"
            )
        return super().resolve_command(ctx, args)


@dataclass(frozen=True)
class _Field:
    """One field of `Options`; `default` is `MISSING` if it is required."""

    name: str
    type: Any
    default: Any
    description: str = ""


def _command(name: str) -> Any:
    """Return the command of an exporter; if its package cannot be imported, the command raises that error."""
    from scff_hw.export.registry import EXPORTERS

    app = typer.Typer(add_completion=False)
    try:
        exporter = EXPORTERS.get(name)
        app.command(name, help=escape(_first_paragraph(exporter)))(_function(exporter))
    except ScffError as error:
        settings = {"allow_extra_args": True, "ignore_unknown_options": True}
        app.command(name, help=escape(str(error)), context_settings=settings)(_raising(error))
    return typer.main.get_command(app)


def _first_paragraph(exporter: type[Exporter[Any, Any]]) -> str:
    return (inspect.getdoc(exporter) or f"The exporter {exporter.name}.").partition("\n\n")[0].replace("\n", " ")


def _raising(error: ScffError) -> Any:
    def fail() -> None:
        raise error

    return fail


def _function(exporter: type[Exporter[Any, Any]]) -> Any:
    """Return the function of an exporter's command, with the parameters that typer reads."""
    own = list(_fields(exporter.Options))

    def export(run: Path, out: Path, data_dir: Path | None, json: bool, **given: Any) -> None:
        options = _options(exporter, {name: value for name, value in given.items() if value is not None})
        with command_progress() as progress:
            manifest = exporter().export_folder(run, out, options, data_dir=data_dir, progress=progress)
        if json:
            emit_json({"file" if exporter.writes_file else "folder": str(out)} | manifest.as_json())
        else:
            say(f"Exported to {out}.")

    new = "New file." if exporter.writes_file else "New or empty folder."
    parameters = {
        "run": Annotated[Path, typer.Argument(help="A run folder that `scff-hw train` finished.")],
        "out": Annotated[Path, typer.Option(callback=file_name, help=new)],
        **{field.name: _annotation(field) for field in own},
        "data_dir": DataDir,
        "json": Json,
    }
    defaults = {field.name: None for field in own if field.default is not MISSING} | {"data_dir": None, "json": False}
    kind = inspect.Parameter.KEYWORD_ONLY
    export.__signature__ = inspect.Signature(  # pyright: ignore[reportFunctionMemberAccess]
        [
            inspect.Parameter(name, kind, default=defaults.get(name, inspect.Parameter.empty), annotation=annotation)
            for name, annotation in parameters.items()
        ]
    )
    export.__annotations__ = parameters
    return export


def _annotation(field: _Field) -> Any:
    """Return an option whose default is None: the exporter's `Options` has the defaults."""
    default = "" if field.default in (MISSING, None) else f"[{field.default}]"
    text = f"{field.description.rstrip('.')}. {default}" if field.description else default
    kind = field.type if field.default is MISSING else field.type | None
    return Annotated[kind, typer.Option(f"--{field.name.replace('_', '-')}", help=escape(text.strip()))]


def _fields(options: type[Any]) -> Iterator[_Field]:
    """The fields of a dataclass or a pydantic model that an option can give."""
    hints = get_type_hints(options)
    for name, default, description in _defaults(options):
        if name not in TAKEN and (kind := _plain(hints[name])) is not None:
            yield _Field(name, kind, default, description)


def _defaults(options: type[Any]) -> Iterator[tuple[str, Any, str]]:
    """Name, default and description of every field."""
    if is_dataclass(options):
        for field in fields(options):
            default = field.default if field.default_factory is MISSING else field.default_factory()
            yield field.name, default, str(field.metadata.get("description", ""))
    else:
        for name, field in getattr(options, "model_fields", {}).items():
            default = MISSING if field.is_required() else field.get_default(call_default_factory=True)
            yield name, default, field.description or ""


def _plain(kind: Any) -> Any:
    """Return the type among `TYPES` of an annotation, without None; None if there is no option for it."""
    parts = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    kinds = [part for part in parts if part is not NoneType]
    return kinds[0] if len(kinds) == 1 and kinds[0] in TYPES else None


def _options(exporter: type[Exporter[Any, Any]], given: dict[str, Any]) -> Any:
    """Return an object of `Options`.

    Raises:
        UsageError: a field is required that has no option, or a value is refused.
    """
    from pydantic import ValidationError

    try:
        return exporter.Options(**given)
    except ValidationError as error:
        text = error.errors(include_url=False)[0]["msg"]
    except (TypeError, ValueError) as error:
        text = str(error)
    raise UsageError(f"The options of the exporter {exporter.name} are not valid: {text.rstrip('.')}.")
