"""Options of a study: a frozen model with a default, a unit, a range and a description per field.

    class DriftOptions(StudyOptions):
        batches: int = option(30, "batches of re-learning", unit="batches", ge=1)

The command line then has the option `--batches`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast

from pydantic import Field, ValidationError

from scff_hw.config.base import Model
from scff_hw.config.keys import find_key
from scff_hw.errors import ScffError, UsageError

TYPES = (int, float, str)
AnyOptions = TypeVar("AnyOptions", bound="StudyOptions")


class StudyOptions(Model):
    """Base class for the options of a study; used as it is by a study without options.

    A validator may raise UsageError; its message is then the whole error message.

    Raises:
        TypeError: a subclass has a field that is not created by `option`, or is not an int, a float or a str.
    """

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        for name, field in cls.model_fields.items():
            if field.annotation not in TYPES or not isinstance(field.json_schema_extra, dict):
                raise TypeError(f"{cls.__name__}.{name} must be an int, a float or a str, made by option()")


def option(default: Any, description: str, *, unit: str, metavar: str = "", **limits: float) -> Any:
    """Make a field of `StudyOptions`.

    Args:
        description: follows "study: " in the command line's help.
        unit: unit of the value; "" for a plain number or text.
        metavar: replaces the type in the help.
        limits: `ge`, `gt`, `le` and `lt`.
    """
    extra: dict[str, Any] = {"units": unit, "metavar": metavar}
    return Field(default=default, description=description, json_schema_extra=extra, **cast(dict[str, Any], limits))


def flag(name: str) -> str:
    """Return the command-line option of a field, e.g. `--batches`."""
    return f"--{name.replace('_', '-')}"


def read_options(study: str, model: type[AnyOptions], given: Mapping[str, object]) -> AnyOptions:
    """Validate the given values by field name, and return the options of a study.

    Raises:
        UsageError: an option of another study, a wrong type, a value out of range.
    """
    for name in given:
        if name not in model.model_fields:
            takes = ", ".join(map(flag, model.model_fields)) or "none of its own"
            raise UsageError(f"The options of the study {study} must be {takes}. Got {flag(name)} instead.")
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        if isinstance(own := problem.get("ctx", {}).get("error"), ScffError):
            raise own from None
        name = str(problem["loc"][0])
        key = find_key((name,), None, model)
        raise UsageError(
            f"{flag(name)} must be {key.allowed if key else 'another value'}. Got {problem['input']!r} instead."
        ) from None
