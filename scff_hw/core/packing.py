"""Sequences of different lengths side by side, without a row for what is not there.

Frames lie step by step, and within a step by falling length of their sequence, so that the sequences that are still
going on are always the first ones:

    lengths 2, 4, 1:   step 0: b0 a0 c0   step 1: b1 a1   step 2: b2   step 3: b3

No frame of padding is ever computed, so none can leak into states, goodness or updates; and read from its end, each
sequence starts at its own last frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from scff_hw.core.streams import Partners
from scff_hw.errors import UsageError


def check_lengths(lengths: Tensor, count: int, steps: int) -> None:
    """Refuse lengths that are not whole numbers in 1..steps, one a sequence of `count`.

    Raises:
        UsageError: names the first length that cannot be.
    """
    if lengths.dtype != torch.int64 or lengths.shape != (count,):
        raise UsageError(
            f"The lengths of {count} sequences must be int64 of shape [{count}]. "
            f"Got {lengths.dtype} of shape {list(lengths.shape)} instead."
        )
    wrong = ((lengths < 1) | (lengths > steps)).nonzero()[:, 0]
    if len(wrong):
        first = int(wrong[0])
        raise UsageError(
            f"The length of a sequence must be in 1..{steps}, the steps there are. "
            f"Got {int(lengths[first])} for sequence {first} instead."
        )


@dataclass(frozen=True)
class Packing:
    """Where each frame of a batch of N sequences lies among its M rows.

    Attributes:
        order: int64 `[N]`, the sequences by falling length.
        lengths: int64 `[N]`, theirs in that order.
        place: int64 `[N]`, where each sequence stands in `order`.
        counts: how many sequences are still going on, by step.
        starts: the first row of each step.
        step, column: int64 `[M]`, the step of each row and the place of its sequence.
    """

    order: Tensor
    lengths: Tensor
    place: Tensor
    counts: tuple[int, ...]
    starts: tuple[int, ...]
    step: Tensor
    column: Tensor

    @classmethod
    def of(cls, lengths: Tensor) -> Packing:
        """The packing of sequences of `lengths`, int64 `[N]`, each at least 1."""
        order = lengths.argsort(descending=True, stable=True)
        steps = torch.arange(int(lengths.max()), device=lengths.device)
        counts = (lengths[None, :] > steps[:, None]).sum(dim=1)
        starts = counts.cumsum(0) - counts
        step = steps.repeat_interleave(counts)
        column = torch.arange(len(step), device=lengths.device) - starts[step]
        return cls(order, lengths[order], order.argsort(), tuple(counts.tolist()), tuple(starts.tolist()), step, column)

    def pack(self, x: Tensor) -> Tensor:
        """The frames `[M, F]` of sequences `[N, T, F]`."""
        return x[self.order[self.column], self.step]

    def rows(self, step: int) -> slice:
        """The rows of one step."""
        return slice(self.starts[step], self.starts[step] + self.counts[step])

    def partner_rows(self, partners: Partners) -> Tensor:
        """The row of each row's partner at the same step, int64 `[M]`; M where the partner has ended."""
        column = self.place[partners.forward[self.order]][self.column]
        counts, starts = torch.tensor([self.counts, self.starts], device=column.device)[:, self.step]
        return torch.where(column < counts, starts + column, len(column))
