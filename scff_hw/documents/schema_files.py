"""Generator of the JSON schemas of scff-hw's documents, for other programs.

Command: `python -m scff_hw.documents.schema_files scff_hw/documents/schemas`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pydantic import TypeAdapter

from scff_hw.documents.checkpoint import CheckpointState
from scff_hw.documents.formats import FormatsDocument
from scff_hw.documents.manifests import CManifest, CrossbarManifest, NirManifest, OnnxManifest
from scff_hw.documents.metrics import MetricsLine
from scff_hw.documents.point import PointResult
from scff_hw.documents.run import RunDetails
from scff_hw.documents.study import StudyDescription
from scff_hw.documents.summary import RunSummary
from scff_hw.files import write_atomic

DOCUMENTS = {
    "run": RunDetails,
    "summary": RunSummary,
    "metrics-line": MetricsLine,
    "formats": FormatsDocument,
    "checkpoint": CheckpointState,
    "study": StudyDescription,
    "point": PointResult,
    "manifest-c": CManifest,
    "manifest-crossbar": CrossbarManifest,
    "manifest-nir": NirManifest,
    "manifest-onnx": OnnxManifest,
}
"""Models by the name of the schema file, without .schema.json."""


def json_schema(name: str) -> str:
    """Return the JSON schema of document `name`, a key of `DOCUMENTS`, as text."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | TypeAdapter(DOCUMENTS[name]).json_schema()
    return json.dumps(schema, indent=2) + "\n"


def main() -> None:
    """Write all schemas into the folder named on the command line."""
    for name in DOCUMENTS:
        write_atomic(Path(sys.argv[1]) / f"{name}.schema.json", json_schema(name).encode())


if __name__ == "__main__":
    main()
