"""Safetensors files with a digest of their own content, checked at every read.

The metadata has one entry, `scff_hw`: a JSON object with `schema`, `digest` and the details of the caller. The
digest is BLAKE2b, 32 bytes in hexadecimal, of the whole file with 64 zeros in place of the digest, so it covers the
header as well as the tensors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from scff_hw.documents import SCHEMA, parse_document
from scff_hw.documents.checkpoint import TensorFileDetails
from scff_hw.errors import CheckpointError
from scff_hw.files import write_atomic

ENTRY = "scff_hw"
_BLANK = "0" * 64


def write_tensors(path: Path, tensors: Mapping[str, Tensor], details: Mapping[str, Any] | None = None) -> None:
    """Write a safetensors file atomically, with its digest.

    Args:
        details: JSON values stored with the tensors.
    """
    entry = json.dumps({"schema": SCHEMA, "digest": _BLANK} | dict(details or {}))
    content = bytearray(save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, {ENTRY: entry}))
    start = content.index(_BLANK.encode(), 8)
    content[start : start + len(_BLANK)] = hashlib.blake2b(content, digest_size=32).hexdigest().encode()
    write_atomic(path, bytes(content))


def read_tensors(path: Path, *, before_digests: bool = False) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a safetensors file and check its digest.

    Args:
        before_digests: accept a file without a digest, as written before schema 1.

    Returns:
        The tensors, sorted by name, and the details stored with them.

    Raises:
        CheckpointError: missing, truncated, not a safetensors file, or changed since it was written.
    """
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(f"The file {path} does not exist.") from None
    except OSError as error:
        raise CheckpointError(f"The file {path} cannot be read ({error.strerror or error}).") from None
    length = int.from_bytes(content[:8], "little")
    try:
        metadata = json.loads(content[8 : 8 + length]).get("__metadata__", {})
        entry = metadata.pop(ENTRY, "{}")
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise CheckpointError(f"The file {path} is not a readable safetensors file ({error}).") from None
    parsed = parse_document(str(entry), TensorFileDetails, f"{path} (its metadata)")
    if parsed.digest is not None:
        _check(content, length, parsed.digest, path)
    elif not before_digests:
        raise CheckpointError(
            f"The file {path} must carry the digest that it was written with; it has none, so it is damaged or was "
            "not written by this version of scff-hw."
        )
    try:
        tensors = dict(sorted(load(content).items()))  # the order of load is not fixed
    except (SafetensorError, KeyError, ValueError, RuntimeError, TypeError) as error:
        raise CheckpointError(f"The file {path} is not a readable safetensors file ({error}).") from None
    rest = {key: value for key, value in json.loads(str(entry)).items() if key not in ("schema", "digest")}
    return tensors, metadata | rest


def check_finite(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse tensors with NaN or infinite values.

    Raises:
        CheckpointError: names the tensor and the number of such values.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool((finite := torch.isfinite(tensor)).all()):
            first = float(tensor[~finite].flatten()[0])
            raise CheckpointError(
                f"The tensor '{name}' in {path} must be finite. Got {first} in {int((~finite).sum())} of its "
                f"{tensor.numel()} values instead."
            )


def _check(content: bytes, length: int, digest: str, path: Path) -> None:
    start = content.find(digest.encode(), 8, 8 + length)
    computed = hashlib.blake2b(content[:start], digest_size=32)
    computed.update(_BLANK.encode())
    computed.update(memoryview(content)[start + len(digest) :])
    if start < 0 or computed.hexdigest() != digest:
        raise CheckpointError(
            f"The file {path} is not as it was written: its digest must be {digest[:12]}. Got "
            f"{computed.hexdigest()[:12]} instead."
        )
