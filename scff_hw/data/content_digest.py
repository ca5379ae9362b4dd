"""Digest that identifies a data set by its content, independent of file locations."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

import torch

from scff_hw.data.types import Dataset, Recordings


def dataset_digest(dataset: Dataset) -> str:
    """Return the BLAKE2b digest, 64 hex digits, of dtype, shape and bytes of the samples and labels of every part."""
    parts = [(name, getattr(dataset, name)) for name in ("train", "test", "unlabelled")]
    tensors = [(name, part.images, part.labels) for name, part in parts if part is not None]
    header = [dataset.name, dataset.classes, [name for name, *_ in tensors]]
    return _digest(header, (tensor for _, images, labels in tensors for tensor in (images, labels)))


def recordings_digest(recordings: Recordings) -> str:
    """Return the digest of recordings, speakers, takes and split, as `dataset_digest`."""
    header = [recordings.sample_rate, recordings.speakers]
    tensors = (recordings.labels, recordings.indices, recordings.is_test, *recordings.waveforms)
    return _digest(header, tensors)


def _digest(header: object, tensors: Iterable[torch.Tensor | None]) -> str:
    digest = hashlib.blake2b(json.dumps(header).encode(), digest_size=32)
    for tensor in tensors:
        described = None if tensor is None else [str(tensor.dtype), list(tensor.shape)]
        digest.update(json.dumps(described).encode())
        if tensor is not None:
            digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()
