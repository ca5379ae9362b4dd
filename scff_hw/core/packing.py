"""Packs variable-length sequences time-major, without padding.

Rows are ordered by step, and within a step by decreasing length of the sequence, so active sequences are always the
first ones:

    lengths 2, 4, 1:   step 0: b0 a0 c0   step 1: b1 a1   step 2: b2   step 3: b3

No padding is computed, so none can leak into states, goodness or updates. A backward pass starts each sequence at its
own last frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from scff_hw.core.pairs import Partners
from scff_hw.errors import UsageError


def check_lengths(lengths: Tensor, count: int, steps: int) -> None:
    """Check that `lengths` is int64 `[count]`, each in 1..steps.

    Raises:
        UsageError: wrong dtype or shape, or an invalid length; the message names the first one.
    """
    if lengths.dtype != torch.int64 or lengths.shape != (count,):
        raise UsageError(
            f"The lengths of {count} sequences must be int64 of shape [{count}]. "
            f"Got {lengths.dtype} of shape {list(lengths.shape)} instead."
        )
    invalid = ((lengths < 1) | (lengths > steps)).nonzero()[:, 0]
    if len(invalid):
        first = int(invalid[0])
        raise UsageError(
            f"The length of a sequence must be in 1..{steps}, the steps there are. "
            f"Got {int(lengths[first])} for sequence {first} instead."
        )


@dataclass(frozen=True)
class Packing:
    """Order of the frames of N packed sequences, M frames in total, one per row.

    Attributes:
        order: int64 `[N]`, the sequences by decreasing length.
        lengths: int64 `[N]`, lengths of the sequences in `order`.
        rank: int64 `[N]`, index of each sequence in `order`.
        counts: number of active sequences per step.
        starts: the first row of each step.
        step, column: int64 `[M]`, the step of each row and the rank of its sequence.
    """

    order: Tensor
    lengths: Tensor
    rank: Tensor
    counts: tuple[int, ...]
    starts: tuple[int, ...]
    step: Tensor
    column: Tensor

    @classmethod
    def of(cls, lengths: Tensor) -> Packing:
        """Return the packing for sequences of `lengths`, int64 `[N]`, each at least 1."""
        order = lengths.argsort(descending=True, stable=True)
        steps = torch.arange(int(lengths.max()), device=lengths.device)
        counts = (lengths[None, :] > steps[:, None]).sum(dim=1)
        starts = counts.cumsum(0) - counts
        step = steps.repeat_interleave(counts)
        column = torch.arange(len(step), device=lengths.device) - starts[step]
        return cls(order, lengths[order], order.argsort(), tuple(counts.tolist()), tuple(starts.tolist()), step, column)

    def pack(self, x: Tensor) -> Tensor:
        """Return the frames of sequences `[N, T, F]` as packed rows `[M, F]`."""
        return x[self.order[self.column], self.step]

    def rows(self, step: int) -> slice:
        """Return the slice of packed rows of time step `step`."""
        return slice(self.starts[step], self.starts[step] + self.counts[step])

    def partner_rows(self, partners: Partners) -> Tensor:
        """Return for each row the row of its partner sequence at the same step, int64 `[M]`; M if that has ended."""
        column = self.rank[partners.forward[self.order]][self.column]
        counts, starts = torch.tensor([self.counts, self.starts], device=column.device)[:, self.step]
        return torch.where(column < counts, starts + column, len(column))
