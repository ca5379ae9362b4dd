"""One measurement of a study, and what identifies it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

FIXED_POINT = "fixed_point"
"""Section of a recipe that holds the formats of the fixed backend, and the parameter of a point that replaces it."""
DATA_DIR, DATA = "data_dir", "data"
"""Parameters of a point that are not part of its key: the folder of the data, and the digests of the data sets by name.

The digests are part of the study's identity instead."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Point:
    """One measurement: everything it needs, as JSON.

    Attributes:
        study: name of the study that measures it.
        parameters: texts of recipe and profile, the seed, what to measure.
        labels: columns of the table that identify the point.
    """

    study: str
    parameters: dict[str, Any]
    labels: Row

    @property
    def key(self) -> str:
        """Digest of what is measured, and of nothing else: a later study finds the result again."""
        asked = {name: value for name, value in self.parameters.items() if name not in (DATA_DIR, DATA)}
        text = json.dumps([self.study, asked], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=10).hexdigest()
