"""Base model of JSON documents; functions to read and write them; validation errors as one sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scff_hw.errors import CheckpointError
from scff_hw.files import write_atomic

SCHEMA = 1
"""Schema version of written documents; 0 stands for files without a version."""

STRICT = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""A BLAKE2b digest of 32 bytes in hexadecimal."""

Share = Annotated[float, Field(ge=0, le=1)]

LARGEST_SEED = 2**64 - 1
"""Largest seed of PyTorch's generators."""

Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]


class Part(BaseModel):
    """A JSON object inside a document."""

    model_config = STRICT


class Document(BaseModel):
    """A JSON document with the version of its schema."""

    model_config = STRICT

    schema_version: Literal[0, 1] = Field(0, alias="schema")

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values, keyed as in the file, without None values."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


D = TypeVar("D", bound=Document)


def read_document(path: Path, model: type[D], absent: str = "") -> D:
    """Read and validate a document of the given model.

    Args:
        absent: error message for a missing file.

    Raises:
        CheckpointError: the file is missing, unreadable, not JSON, or does not match its schema.
    """
    return parse_document(read_file(path, absent), model, str(path))


def read_file(path: Path, absent: str = "") -> str:
    """Read the text of a file.

    Raises:
        CheckpointError: the file is missing, unreadable, or not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(absent or f"The file {path} does not exist.") from None
    except UnicodeDecodeError as error:
        raise CheckpointError(f"The file {path} is not UTF-8 text: byte {error.start} is not.") from None
    except OSError as error:
        raise CheckpointError(f"The file {path} cannot be read ({error.strerror or error}).") from None


def parse_document(text: str, model: type[D], where: str) -> D:
    """Validate the JSON `text` of a document, as `read_document`; `where` is its name in error messages."""
    try:
        return model.model_validate_json(text)
    except (ValidationError, ValueError) as error:
        raise CheckpointError(sentence(error, f"the file {where}")) from None


def write_document(path: Path, document: Document) -> None:
    """Write an indented JSON document atomically."""
    write_atomic(path, (json.dumps(document.as_json(), indent=2, allow_nan=False) + "\n").encode())


def sentence(error: ValueError, where: str) -> str:
    """Describe the first problem of a validation error in one sentence: key, allowed values, value found.

    Args:
        where: name of the document, e.g. "the file runs/a/run.json".
    """
    if not isinstance(error, ValidationError):  # e.g. lone surrogates, which are not valid in JSON
        return f"{_capital(where)} is not JSON ({error})."
    problem = error.errors(include_url=False)[0]
    kind, key, allowed = problem["type"], ".".join(map(str, problem["loc"])), problem["msg"]
    if kind == "json_invalid":
        return f"{_capital(where)} is not JSON ({allowed.partition(': ')[2] or allowed})."
    if kind == "missing":
        return f"{_capital(where)} must hold '{key}', which is missing."
    if kind == "extra_forbidden":
        return f"{_capital(where)} holds the unknown key '{key}'; it may be damaged, or of a newer version."
    allowed = "be one JSON object" if kind in ("model_type", "dict_type") else allowed.partition(" should ")[2]
    got = f"Got {_as_text(problem['input'])} instead."
    if not key:
        return f"{_capital(where)} must {allowed or 'be valid'}. {got}"
    return f"The key '{key}' in {where} must {allowed or 'be valid'}. {got}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _as_text(value: Any) -> str:
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):  # a number of thousands of digits
        return f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."
