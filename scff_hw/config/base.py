"""Base model and types of recipes and profiles."""

from __future__ import annotations

from typing import Annotated, NoReturn

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

ONE_LINE = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]+$"

Line = Annotated[
    str,
    Field(
        min_length=1,
        max_length=1000,
        pattern=ONE_LINE,
        json_schema_extra={"allowed": "one line of text, at most 1000 characters"},
    ),
]


def refuse(key: str, sentence: str) -> NoReturn:
    """Raise pydantic's error for a check that involves several keys; `key` is dotted, relative to the model."""
    raise PydanticCustomError("cross_field", "{key} {sentence}", {"key": key, "sentence": sentence})


class Model(BaseModel):
    """Frozen pydantic model that rejects unknown keys, wrong types and values that are not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
