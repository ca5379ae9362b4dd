"""From an MVM to the errors at it in two passes over the pre-activations, for rules that modulate outputs.

The first pass gives goodness, one number a position; the rule makes modulations of it; the second pass multiplies
outputs by them. Nothing as large as a pre-activation is kept in between, for an output is computed anew faster than
it is written to memory and read again. The second pass takes a few samples at a time, so that what it sums for the
biases is still in the cache.

Tensors of pre-activations are `[N, P, C]` here: P positions of C units, as channels-last maps lie in memory.
"""

from __future__ import annotations

import torch
from torch import Tensor

from scff_hw.core.compiling import compiled_if_large
from scff_hw.core.functional import wide
from scff_hw.core.goodness import Gains, HasGains
from scff_hw.core.streams import Presentation

CHUNK_ELEMENTS = 1 << 20
"""Pre-activations that the second pass takes at a time: 4 MiB in float32."""


def errors_in_two_passes(
    u: Tensor, bias: Tensor, presentation: Presentation, rule: HasGains
) -> tuple[Tensor, Tensor, Gains]:
    """What `rule` makes of a batch.

    Args:
        u: `[R, C, ...]`, the MVM of `presentation.inputs`, without bias.
        bias: `[C]`; counts twice in a pair made here.
        presentation: with a negative to every positive.
        rule: modulates outputs by goodness.
    Returns:
        Errors at `u`, of its shape and dtype; errors at the bias, `[C]`; the gains they are made of.
    """
    rows = u.movedim(1, -1).reshape(len(u), -1, u.shape[1])
    error = torch.empty_like(rows)
    passes = _passed_on if presentation.scale_positive is None else _made_here
    bias_error, gains = passes(rows, bias, presentation, rule, error)
    return error.view(len(u), *u.shape[2:], u.shape[1]).movedim(-1, 1), bias_error, gains


def _made_here(
    rows: Tensor, bias: Tensor, presentation: Presentation, rule: HasGains, error: Tensor
) -> tuple[Tensor, Gains]:
    partners, scale_positive, scale_negative = (
        presentation.partners,
        presentation.scale_positive,
        presentation.scale_negative,
    )
    assert partners is not None and scale_positive is not None and scale_negative is not None
    n = len(rows) // presentation.views
    first, second = rows[:n], rows[-n:]
    errors = error.view(presentation.views, n, *error.shape[1:])
    scales = scale_positive.view(n, 1, 1), scale_negative.view(n, 1, 1)
    doubled = 2 * bias
    goodness = compiled_if_large(_goodness_made_here, rows)(first, second, partners.forward, *scales, doubled)
    gains = rule.gains(*goodness, units=rows.shape[2])
    weights = gains.positive.unsqueeze(-1), gains.negative.unsqueeze(-1)
    second_pass = compiled_if_large(_errors_made_here, rows)
    bias_error = torch.zeros_like(bias)
    for chunk in _chunks(n, rows):
        here = torch.arange(n, device=rows.device)[chunk]
        at_bias = second_pass(
            first,
            second,
            here,
            partners.forward[chunk],
            partners.backward[chunk],
            *scales,
            *weights,
            doubled,
            errors[:, chunk],
        )
        bias_error += at_bias.sum(dim=(0, 1))
    return 2 * bias_error, gains


def _goodness_made_here(
    first: Tensor, second: Tensor, after: Tensor, scale_positive: Tensor, scale_negative: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    positive = scale_positive * (wide(first) + wide(second)) + bias
    negative = scale_negative * (wide(first) + wide(second)[after]) + bias
    return torch.relu(positive).square().mean(-1), torch.relu(negative).square().mean(-1)


def _errors_made_here(
    first: Tensor,
    second: Tensor,
    here: Tensor,
    after: Tensor,
    before: Tensor,
    scale_positive: Tensor,
    scale_negative: Tensor,
    pull: Tensor,
    push: Tensor,
    bias: Tensor,
    errors: Tensor,
) -> Tensor:
    """Write the errors at the samples `here`; return the sum of their pairs' errors, for the bias.

    A sample is in three pairs: with itself, first in one with the sample `after`, second in one with `before`.
    """
    mine, other = wide(first[here]), wide(second[here])
    positive = pull[here] * torch.relu(scale_positive[here] * (mine + other) + bias)
    negative = push[here] * torch.relu(scale_negative[here] * (mine + wide(second[after])) + bias)
    returned = push[before] * torch.relu(scale_negative[before] * (wide(first[before]) + other) + bias)
    at_positive = scale_positive[here] * positive
    at_first = at_positive + scale_negative[here] * negative
    at_second = at_positive + scale_negative[before] * returned
    if len(errors) == 2:
        errors[0].copy_(at_first)
        errors[1].copy_(at_second)
    else:
        errors[0].copy_(at_first + at_second)
    return positive + negative


def _passed_on(
    rows: Tensor, bias: Tensor, presentation: Presentation, rule: HasGains, error: Tensor
) -> tuple[Tensor, Gains]:
    goodness = compiled_if_large(_goodness_passed_on, rows)(rows, bias).chunk(2)
    gains = rule.gains(*goodness, units=rows.shape[2])
    weights = torch.cat((gains.positive, gains.negative)).unsqueeze(-1)
    second_pass = compiled_if_large(_errors_passed_on, rows)
    bias_error = torch.zeros_like(bias)
    for chunk in _chunks(len(rows), rows):
        second_pass(rows[chunk], weights[chunk], bias, error[chunk])
        bias_error += error[chunk].sum(dim=(0, 1), dtype=bias.dtype)
    return bias_error, gains


def _goodness_passed_on(u: Tensor, bias: Tensor) -> Tensor:
    return torch.relu(wide(u) + bias).square().mean(-1)


def _errors_passed_on(u: Tensor, weights: Tensor, bias: Tensor, error: Tensor) -> None:
    error.copy_(weights * torch.relu(wide(u) + bias))


def _chunks(count: int, rows: Tensor) -> list[slice]:
    """Equal parts of `count` samples, so that one compiled shape serves all of them."""
    limit = max(1, CHUNK_ELEMENTS // rows[0].numel())
    size = max(d for d in range(1, count + 1) if count % d == 0 and d <= limit)
    return [slice(start, start + size) for start in range(0, count, size)]
