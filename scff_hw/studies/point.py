"""One measurement of a study, and its key."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

FIXED_POINT = "fixed_point"
"""Recipe section with the formats of the fixed backend, and the parameter of a point that replaces it."""
DATA_DIR, DATA = "data_dir", "data"
"""Parameters of a point that are not part of its key: the folder of the data, and the digests of the data sets by name.

The digests are part of the study's identity instead."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Point:
    """One measurement, with all of its inputs as JSON.

    Attributes:
        study: name of the study that measures the point.
        parameters: texts of recipe and profile, seed, method and further inputs.
        labels: columns of the table that identify the point.
    """

    study: str
    parameters: dict[str, Any]
    labels: Row

    @property
    def key(self) -> str:
        """Digest of the study's name and the inputs of the measurement: a later study reuses a result of this key."""
        inputs = {name: value for name, value in self.parameters.items() if name not in (DATA_DIR, DATA)}
        text = json.dumps([self.study, inputs], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=10).hexdigest()
