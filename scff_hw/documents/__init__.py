"""JSON documents of scff-hw: one frozen model per document, validated at reading.

The field `schema` is the version of the model. Reading raises `CheckpointError` with one sentence that names the file,
the key, the value and the allowed values.
"""

from scff_hw.documents.base import SCHEMA, Document, parse_document, read_document, read_file, write_document
from scff_hw.documents.checkpoint import CheckpointState
from scff_hw.documents.formats import FormatsDocument
from scff_hw.documents.manifests import MANIFEST, CManifest, CrossbarManifest, Manifest, NirManifest, OnnxManifest
from scff_hw.documents.metrics import parse_metrics
from scff_hw.documents.point import PointResult
from scff_hw.documents.run import DataIdentity, RunDetails, Scaling
from scff_hw.documents.study import StudyDescription
from scff_hw.documents.summary import ReadoutReport, RunSummary

__all__ = [
    "MANIFEST",
    "SCHEMA",
    "CManifest",
    "CheckpointState",
    "CrossbarManifest",
    "DataIdentity",
    "Document",
    "FormatsDocument",
    "Manifest",
    "NirManifest",
    "OnnxManifest",
    "PointResult",
    "ReadoutReport",
    "RunDetails",
    "RunSummary",
    "Scaling",
    "StudyDescription",
    "parse_document",
    "parse_metrics",
    "read_document",
    "read_file",
    "write_document",
]
