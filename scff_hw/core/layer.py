"""A layer: pairs at its input, an array from a backend, a rule on its pre-activations, and what it passes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from scff_hw.backends.protocol import Dense, SynapticArray
from scff_hw.core.compiling import compiled_where_it_pays
from scff_hw.core.functional import TRANSMIT, Pool, standardise
from scff_hw.core.goodness import Errors
from scff_hw.core.rules import Rule, Signals
from scff_hw.core.streams import Partners, Presentation, Stream, make_pairs, pass_pairs


@dataclass(frozen=True)
class Telemetry:
    """What a layer reports of one batch, as 0-d tensors on its device."""

    goodness_pos: Tensor
    goodness_neg: Tensor
    loss: Tensor
    dead_units: Tensor


class Layer(Protocol):
    """What a network asks of a layer; dense and convolutional ones below, a recurrent one fits the same calls."""

    array: SynapticArray

    def learn(
        self, stream: Stream, partners: Partners | None, generator: torch.Generator | None = None
    ) -> tuple[Telemetry, Callable[[bool], Stream]]:
        """Change the weights once; `partners` is needed where the layer makes its pairs.

        `generator` is needed where the layer learns from random positions. Also returns how to obtain the layer's
        output from before the update, with its negative stream or without.
        """
        ...

    def forward(self, stream: Stream, partners: Partners | None = None) -> Stream:
        """The layer's output, without learning; its negative stream too where `partners` is given."""
        ...

    def features(self, output: Tensor) -> Tensor:
        """The readout's view `[N, F]` of a layer's output: pooled once more, flattened, standardised."""
        ...


@dataclass(frozen=True)
class PairLayer:
    """A feed-forward layer, dense or convolutional.

    Attributes:
        array: weights and biases, in a backend.
        rule: None for a layer that does not learn.
        makes_pairs: pairs are formed at this layer's input (layer 1, Algorithm 2), not passed on (Algorithm 1).
        padding: reflection padding of the input, in positions (convolution only).
        transmit: "triangle" or "relu", what is passed on.
        pool: applied to what is passed on.
        readout_pool: the extra pool of the readout's features.
        update_positions: random positions of each sample that a convolution learns from; None for all.
    """

    array: SynapticArray
    rule: Rule | None
    makes_pairs: bool
    padding: int = 0
    transmit: str = "triangle"
    pool: Pool | None = None
    readout_pool: Pool | None = None
    update_positions: int | None = None

    def present(self, stream: Stream, partners: Partners | None) -> Presentation:
        """The batch as the array reads it; a dense layer flattens images and maps."""
        if isinstance(self.array.geometry, Dense):
            stream = stream.flat()
        if self.makes_pairs:
            return make_pairs(stream, partners, self.padding)
        return pass_pairs(stream, self.padding)

    def learn(
        self, stream: Stream, partners: Partners | None, generator: torch.Generator | None = None
    ) -> tuple[Telemetry, Callable[[bool], Stream]]:
        assert self.rule is not None, "a layer without a rule was asked to learn"
        presentation = self.present(stream, partners)
        u = self.array.mvm(presentation.inputs)
        bias = self.array.bias.clone()
        error, bias_error, telemetry = compiled_where_it_pays(_learn, u)(u, bias, presentation, self.rule)
        if self.update_positions is not None and error.dim() > 2:
            assert generator is not None, "a layer that learns from random positions was given no generator"
            error = at_random_positions(error, self.update_positions, generator)
        self.array.update(presentation.inputs, error, bias_error)
        return telemetry, lambda negative: self._pass_on(u, bias, presentation, negative)

    def forward(self, stream: Stream, partners: Partners | None = None) -> Stream:
        presentation = self.present(stream, partners)
        u = self.array.mvm(presentation.inputs)
        negative = partners is not None or (not self.makes_pairs and stream.negative is not None)
        return self._pass_on(u, self.array.bias, presentation, negative)

    def features(self, output: Tensor) -> Tensor:
        pooled = output if self.readout_pool is None else self.readout_pool(output)
        return standardise(pooled.flatten(1))

    def _pass_on(self, u: Tensor, bias: Tensor, presentation: Presentation, negative: bool) -> Stream:
        transmitted = compiled_where_it_pays(_transmit, u)(u, bias, presentation, self.transmit, negative)
        pool = self.pool or _identity
        return Stream(pool(transmitted[0]), pool(transmitted[1]) if negative else None)


def at_random_positions(error: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`error` `[R, C, ...]` at `count` random positions of each row, scaled so that its mean stays; 0 elsewhere.

    A device array updates position by position: this is what makes a convolution's update affordable there.
    """
    rows, positions = len(error), error[0, 0].numel()
    if count >= positions:
        return error
    chosen = torch.rand(rows, positions, generator=generator).topk(count, dim=1).indices
    mask = torch.zeros(rows, positions).scatter_(1, chosen, positions / count)
    return error * mask.to(error).view(rows, 1, *error.shape[2:])


def _identity(x: Tensor) -> Tensor:
    return x


def _wide(u: Tensor) -> Tensor:
    """Half-precision pre-activations are squared, summed and compared in float32."""
    return u.float() if u.dtype in (torch.bfloat16, torch.float16) else u


def _learn(u: Tensor, bias: Tensor, presentation: Presentation, rule: Rule) -> tuple[Tensor, Tensor, Telemetry]:
    """From the MVM to the errors at the MVM and at the bias: unfold the pairs, ask the rule, fold back."""
    positive, negative = presentation.pre_activations(_wide(u), bias)
    assert negative is not None
    errors: Errors = rule.errors(Signals(presentation.inputs, positive, negative))
    error, bias_error = presentation.fold(errors.positive, errors.negative)
    dead = (errors.activity <= 0).to(errors.activity.dtype).mean()
    telemetry = Telemetry(errors.goodness_positive, errors.goodness_negative, errors.loss, dead)
    return error.to(u.dtype), bias_error, telemetry


def _transmit(u: Tensor, bias: Tensor, presentation: Presentation, transmit: str, negative: bool) -> tuple[Tensor, ...]:
    """What the positive (and the negative) pairs pass on, before pooling."""
    positive, other = presentation.pre_activations(_wide(u), bias)
    activation = TRANSMIT[transmit]
    if not negative:
        return (activation(positive).to(u.dtype),)
    assert other is not None
    return activation(positive).to(u.dtype), activation(other).to(u.dtype)
