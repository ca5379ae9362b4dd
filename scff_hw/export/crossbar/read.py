"""Reads an exported crossbar program; refuses another version and changed files."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scff_hw.documents import MANIFEST, CrossbarManifest, read_document
from scff_hw.errors import CheckpointError
from scff_hw.export.crossbar.model import ARRAYS, FORMAT, PROGRAM, VERSION
from scff_hw.export.crossbar.pulses import PulseScheme, TilePulses
from scff_hw.export.folder import digest
from scff_hw.files import AnyPath


@dataclass(frozen=True)
class CrossbarProgram:
    """A crossbar program as `load_crossbar` returns it.

    Attributes:
        manifest, program: the documents manifest.json and program.json.
        arrays: by name: `<tile>.plus`, `.minus` (float64 `[rows, columns]`, siemens), `.order` (int32 `[devices, 3]`);
            `layers.N.bias`, `readout.weight`, `readout.bias` (float64, digital).
    """

    manifest: CrossbarManifest
    program: dict[str, Any]
    arrays: dict[str, NDArray[Any]]

    def tile(self, name: str) -> dict[str, Any]:
        """Return a tile's entry in the program, e.g. of `layers.1.tile.0.0`."""
        return next(tile for layer in self.program["layers"] for tile in layer["tiles"] if tile["name"] == name)

    def weight(self, name: str) -> NDArray[np.float64]:
        """Return the layer's weights that a tile's conductances represent, `[outputs, inputs]`."""
        difference = self.arrays[f"{name}.plus"] - self.arrays[f"{name}.minus"]
        return difference.T / self.program["conductance"]["siemens_per_w"] * self.tile(name)["scale"]

    def pulses(self, name: str) -> TilePulses:
        """Return a tile's pulse trains, with the generators at their start."""
        keys, tile = self.program["pulses"], self.tile(name)
        scheme = PulseScheme(keys["kind"], keys["max_pulses"], keys["update_management"], keys["pulse_management"])
        rows, columns = self.arrays[f"{name}.plus"].shape
        return TilePulses(scheme, rows, columns, tile["gain"], tile["seed"], tile["scale"])


def load_crossbar(folder: AnyPath) -> CrossbarProgram:
    """Read a folder that `scff-hw export crossbar` wrote.

    Raises:
        CheckpointError: not a crossbar program, another version, or a file is missing or was changed.
    """
    folder = Path(folder)
    document = _json(folder / MANIFEST)
    if document.get("format") != FORMAT:
        raise CheckpointError(f"The folder {folder} holds no crossbar program: its {MANIFEST} is of another kind.")
    if document.get("version") != VERSION:
        raise CheckpointError(
            f"The crossbar program in {folder} must be of version {VERSION}. Got {document.get('version')} instead; "
            "export its run again: scff-hw export crossbar RUN --profile PROFILE --out NEW"
        )
    files = document.get("files")
    if not isinstance(files, dict) or not {PROGRAM, ARRAYS} <= files.keys():
        raise CheckpointError(f"The file {folder / MANIFEST} must list {PROGRAM} and {ARRAYS} under files.")
    manifest = read_document(folder / MANIFEST, CrossbarManifest)
    for name, expected in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise CheckpointError(f"The crossbar program in {folder} is incomplete: {name} is missing.")
        if (got := digest(path)) != expected:
            raise CheckpointError(
                f"The file {path} is not the one that was exported: its SHA-256 must be {expected}. Got {got} instead."
            )
    try:
        with np.load(folder / ARRAYS, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"The file {folder / ARRAYS} cannot be read ({error}).") from None
    return CrossbarProgram(manifest, _json(folder / PROGRAM), arrays)


def _json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"The file {path} of a crossbar program cannot be read ({error.strerror}).") from None
    except ValueError as error:
        raise CheckpointError(f"The file {path} is not JSON ({error}).") from None
    if not isinstance(document, dict):
        raise CheckpointError(f"The file {path} must hold a JSON object.")
    return document
