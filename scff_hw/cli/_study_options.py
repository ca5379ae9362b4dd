"""Builds the options of `scff-hw study` from the `Options` models of all studies when the command runs."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperCommand

from scff_hw.cli._options import number_text

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

FOLLOWING = "engine"
"""The parameter after the options of studies."""
PARAMETERS, GIVEN = f"{__name__}.parameters", f"{__name__}.given"


class StudyCommand(TyperCommand):
    """The command `study`; imports all studies, also of other packages, when it runs or prints its help."""

    def get_params(self, ctx: Any) -> list[Any]:
        from scff_hw.studies import study_names

        parameters: list[Any] = list(super().get_params(ctx))
        if PARAMETERS not in ctx.meta:
            ctx.meta[PARAMETERS] = _parameters()
        *names, last = study_names()
        for parameter in parameters:
            if parameter.name == "name":
                parameter.help = escape(f"Name of the study: {', '.join(names)} or {last}.")
        position = [parameter.name for parameter in parameters].index(FOLLOWING)
        return [*parameters[:position], *ctx.meta[PARAMETERS], *parameters[position:]]


def given_options(context: typer.Context) -> dict[str, Any]:
    """Return the given options of studies by field name, in the order of the help."""
    given = context.meta.get(GIVEN, {})
    return {name: given[name] for name in _fields() if name in given}


def _fields() -> dict[str, dict[str, FieldInfo]]:
    """Return the fields by option and study; a study that cannot be imported raises its error when it is used."""
    from scff_hw.errors import ScffError
    from scff_hw.studies import find_study, study_names

    options: dict[str, dict[str, FieldInfo]] = {}
    for study in study_names():
        try:
            model = find_study(study).Options
        except ScffError:
            continue
        for name, field in model.model_fields.items():
            options.setdefault(name, {})[study] = field
    return options


def _parameters() -> list[Any]:
    def options(**_: Any) -> None: ...

    signature = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_annotation(name, fields))
        for name, fields in _fields().items()
    ]
    options.__signature__ = inspect.Signature(signature)  # pyright: ignore[reportFunctionMemberAccess]
    options.__annotations__ = {parameter.name: parameter.annotation for parameter in signature}
    app = typer.Typer(add_completion=False)
    app.command()(options)
    return list(typer.main.get_command(app).params)


def _annotation(name: str, fields: dict[str, FieldInfo]) -> Any:
    from scff_hw.studies.options import flag

    first = next(iter(fields.values()))
    extra = first.json_schema_extra
    metavar = extra.get("metavar") if isinstance(extra, dict) else None
    texts = [f"{study}: {field.description}. [{shlex.quote(str(field.default))}]" for study, field in fields.items()]
    info = typer.Option(
        flag(name),
        help=escape("; ".join(texts)),
        metavar=str(metavar) if metavar else None,
        callback=_store(name, list(fields.values())),
        expose_value=False,
    )
    kind: Any = first.annotation
    return Annotated[kind | None, info]


def _store(name: str, fields: list[FieldInfo]) -> Callable[[typer.Context, Any], None]:
    def store(context: typer.Context, value: Any) -> None:
        if value is None:
            return
        refusals = [_refusal(value, field) for field in fields]
        if all(refusals):
            raise typer.BadParameter(refusals[0])
        context.meta.setdefault(GIVEN, {})[name] = value

    return store


def _refusal(value: Any, field: FieldInfo) -> str:
    """Return the message for a number that is out of range, e.g. "0 is less than 1."; otherwise empty."""
    words = ("ge", "gt", "le", "lt")
    limits = {word: getattr(part, word) for part in field.metadata for word in words if hasattr(part, word)}
    number = f"{value:g}" if isinstance(value, float) else number_text(value) if isinstance(value, int) else ""
    low, high = limits.get("gt"), limits.get("le")
    if low is not None and high is not None:
        return "" if low < value <= high else f"{number} is not above {low:g} and at most {high:g}."
    if "ge" in limits and not value >= limits["ge"]:
        return f"{number} is less than {limits['ge']:g}."
    if low is not None and not value > low:
        return f"{number} is not above {low:g}."
    if high is not None and not value <= high:
        return f"{number} is more than {high:g}."
    if "lt" in limits and not value < limits["lt"]:
        return f"{number} is not below {limits['lt']:g}."
    return ""
