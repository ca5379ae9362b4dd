"""formats.json: the file with the number formats of a run's layers."""

from __future__ import annotations

import json
from collections.abc import Mapping

from scff_hw.backends.fixed.formats.calibrate import Calibration
from scff_hw.backends.fixed.formats.formats import LayerFormats
from scff_hw.documents import SCHEMA, FormatsDocument, parse_document
from scff_hw.errors import CheckpointError

FORMATS = "formats.json"
"""Name of the file in a run folder."""


def dump_formats(calibration: Calibration) -> str:
    """Return the text of formats.json, the formats and observed ranges, for `parse_formats`."""
    layers = {name: form.to_json() for name, form in calibration.formats.items()}
    ranges = [each.to_json() for each in calibration.ranges]
    return json.dumps({"schema": SCHEMA, "layers": layers, "ranges": ranges}, indent=2) + "\n"


def parse_formats(text: str, outputs: Mapping[str, int], where: str) -> dict[str, LayerFormats]:
    """Return the formats of a run's arrays by name, from the text of formats.json.

    Args:
        outputs: number of outputs of each array of the run, by name.
        where: path of the file, for messages.

    Raises:
        CheckpointError: invalid document, or formats of another network.
    """
    layers = parse_document(text, FormatsDocument, where).layers
    names = list(layers)
    formats = {name: LayerFormats.from_json(layers[name], f"Layer {name} of {where}") for name in names}
    if formats.keys() != outputs.keys():
        expected = ", ".join(outputs)
        raise CheckpointError(
            f"The file {where} must hold the formats of {expected}. Got those of {', '.join(names) or 'none'} instead."
        )
    for name, form in formats.items():
        if len(form.weight.fracs) not in (1, outputs[name]) or len(form.stored.fracs) != len(form.weight.fracs):
            raise CheckpointError(
                f"Layer {name} of {where} must have 1 scale of weights, or one for each of {outputs[name]} channels. "
                f"Got {len(form.weight.fracs)} instead."
            )
    return formats
