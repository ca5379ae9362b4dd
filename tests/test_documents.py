"""The JSON schemas of documents: up to date, and true of what is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import scff_hw
from scff_hw import documents
from scff_hw.documents import Document, Manifest
from scff_hw.documents.schema_files import DOCUMENTS, json_schema, main

SCHEMAS = Path(scff_hw.__file__).parent / "documents" / "schemas"


def test_the_schemas_are_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remedy = "run: python -m scff_hw.documents.schema_files scff_hw/documents/schemas"
    assert {path.name for path in SCHEMAS.iterdir()} == {f"{name}.schema.json" for name in DOCUMENTS}, remedy
    monkeypatch.setattr("sys.argv", ["reference", str(tmp_path)])
    main()
    for name in DOCUMENTS:
        written = (tmp_path / f"{name}.schema.json").read_text()
        assert written == json_schema(name) == (SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"), remedy
        assert json.loads(written)["$schema"].endswith("2020-12/schema")


def test_every_document_has_a_schema() -> None:
    public = {each for name in documents.__all__ if isinstance(each := getattr(documents, name), type)}
    models = {each for each in public if issubclass(each, Document)} - {Document, Manifest}
    assert models - set(DOCUMENTS.values()) == set()
    for name, model in DOCUMENTS.items():
        if isinstance(model, type) and issubclass(model, Document):
            assert "schema" in json.loads(json_schema(name))["properties"], name
