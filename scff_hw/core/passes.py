"""Errors at an MVM in two passes over the pre-activations, for rules with error = gain * output.

The first pass computes goodness, one number per position; the rule computes gains from it; the second pass multiplies
outputs by the gains. No tensor as large as a pre-activation is stored in between: recomputing an output is faster than
writing it to memory and reading it back. The second pass processes a few samples at a time, so that the errors summed
for the biases are still in the cache.

Pre-activations are `[N, P, C]` here: P positions of C units, the memory order of channels-last maps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from scff_hw.core.compiling import compiled_if_large
from scff_hw.core.functional import wide
from scff_hw.core.goodness import Gains, HasGains
from scff_hw.core.pairs import Presentation

CHUNK_ELEMENTS = 1 << 20
"""Pre-activations per chunk of the second pass: 4 MiB in float32."""


def errors_in_two_passes(
    u: Tensor, bias: Tensor, presentation: Presentation, rule: HasGains
) -> tuple[Tensor, Tensor, Gains]:
    """Return the errors of `rule` for a batch, and its gains.

    Args:
        u: `[R, C, ...]`, the MVM of `presentation.inputs`, without bias.
        bias: `[C]`; counts twice in a pair that this layer makes.
        presentation: presentation of the batch, negative pairs included.
        rule: computes gains from goodness.
    Returns:
        Errors at `u`, same shape and dtype; errors at the bias, `[C]`; the gains.
    """
    rows = u.movedim(1, -1).reshape(len(u), -1, u.shape[1])
    error = torch.empty_like(rows)
    two_passes = _of_passed_pairs if presentation.scale_positive is None else _of_made_pairs
    bias_error, gains = two_passes(rows, bias, presentation, rule, error)
    return error.view(len(u), *u.shape[2:], u.shape[1]).movedim(-1, 1), bias_error, gains


def _of_made_pairs(
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
    goodness = compiled_if_large(_goodness_of_made_pairs, rows)(first, second, partners.forward, *scales, doubled)
    gains = rule.gains(*goodness, units=rows.shape[2])
    weights = gains.positive.unsqueeze(-1), gains.negative.unsqueeze(-1)
    second_pass = compiled_if_large(_errors_of_made_pairs, rows)
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


def _goodness_of_made_pairs(
    first: Tensor, second: Tensor, after: Tensor, scale_positive: Tensor, scale_negative: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    positive = scale_positive * (wide(first) + wide(second)) + bias
    negative = scale_negative * (wide(first) + wide(second)[after]) + bias
    return torch.relu(positive).square().mean(-1), torch.relu(negative).square().mean(-1)


def _errors_of_made_pairs(
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
    """Write the errors at samples `here` into `errors`; return the sum of the errors of their pairs, for the bias.

    A sample is in three pairs: with itself, as first half with sample `after`, as second half with sample `before`.
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


def _of_passed_pairs(
    rows: Tensor, bias: Tensor, presentation: Presentation, rule: HasGains, error: Tensor
) -> tuple[Tensor, Gains]:
    goodness = compiled_if_large(_goodness_of_passed_pairs, rows)(rows, bias).chunk(2)
    gains = rule.gains(*goodness, units=rows.shape[2])
    weights = torch.cat((gains.positive, gains.negative)).unsqueeze(-1)
    second_pass = compiled_if_large(_errors_of_passed_pairs, rows)
    bias_error = torch.zeros_like(bias)
    for chunk in _chunks(len(rows), rows):
        second_pass(rows[chunk], weights[chunk], bias, error[chunk])
        bias_error += error[chunk].sum(dim=(0, 1), dtype=bias.dtype)
    return bias_error, gains


def _goodness_of_passed_pairs(u: Tensor, bias: Tensor) -> Tensor:
    return torch.relu(wide(u) + bias).square().mean(-1)


def _errors_of_passed_pairs(u: Tensor, weights: Tensor, bias: Tensor, error: Tensor) -> None:
    error.copy_(weights * torch.relu(wide(u) + bias))


def _chunks(count: int, rows: Tensor) -> list[slice]:
    """Split `count` samples into slices of equal size, so that all use one compiled shape."""
    limit = max(1, CHUNK_ELEMENTS // rows[0].numel())
    size = max(d for d in range(1, count + 1) if count % d == 0 and d <= limit)
    return [slice(start, start + size) for start in range(0, count, size)]
