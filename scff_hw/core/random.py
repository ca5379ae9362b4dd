"""Named random streams: each draw depends on the run's seed and the stream's names, never on earlier draws.

A run resumes bit for bit for two reasons. A stream is a function of (seed, names), e.g. names of a layer and an epoch:
no generator state is stored, and a resumed run draws the same numbers as an uninterrupted one. A checkpoint
(`scff_hw/training/run_folder.py`) stores the position in the run and the state of all arrays. Analog devices resume
with their state, but the simulator's further noise differs.
"""

from __future__ import annotations

import hashlib

import torch


def stream_seed(seed: int, *names: str | int) -> int:
    """Return a 63-bit seed for the stream `names` of a run."""
    key = "/".join(map(str, (seed, *names))).encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") >> 1


def generator(seed: int, *names: str | int) -> torch.Generator:
    """Return a CPU generator for the stream `names` of a run, e.g. `generator(seed, "data", layer, epoch)`."""
    return torch.Generator().manual_seed(stream_seed(seed, *names))
