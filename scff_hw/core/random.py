"""Named random streams: each draw depends on the run's seed and the stream's names, never on earlier draws.

A stream is a function of (seed, names), so a resumed run draws the same numbers as an uninterrupted one.
"""

from __future__ import annotations

import hashlib

import torch


def stream_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the stream `names` of a run."""
    key = "/".join(map(str, (seed, *names))).encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") >> 1


def generator(seed: int, *names: str | int) -> torch.Generator:
    """A CPU generator for the stream `names` of a run, e.g. `generator(seed, "data", layer, epoch)`."""
    return torch.Generator().manual_seed(stream_seed(seed, *names))
