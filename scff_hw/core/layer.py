"""A layer: pairs at its input, an array from a backend, a rule on its pre-activations, and what it passes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from scff_hw.core import passes
from scff_hw.core.arrays import SynapticArray
from scff_hw.core.compiling import compiled_if_large
from scff_hw.core.functional import TRANSMIT, Pool, standardise, wide
from scff_hw.core.goodness import Errors, Gains
from scff_hw.core.rules import GainRule, Rule, Signals, overridden
from scff_hw.core.streams import Partners, Presentation, Stream, make_pairs, pass_pairs


@dataclass(frozen=True)
class Telemetry:
    """What a layer reports of one batch, as 0-d tensors on its device."""

    goodness_pos: Tensor
    goodness_neg: Tensor
    loss: Tensor
    dead_units: Tensor


class Layer(Protocol):
    """What a network asks of a layer: dense and convolutional ones are below, recurrent ones in `recurrent`."""

    @property
    def rule(self) -> Rule | None:
        """None for a layer that does not learn."""
        ...

    @property
    def makes_pairs(self) -> bool:
        """Pairs are formed at this layer's input, not passed on by the one before."""
        ...

    @property
    def arrays(self) -> Mapping[str, SynapticArray]:
        """Its arrays by what follows the layer's name in theirs; the only array of a layer has no name of its own."""
        ...

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

    @property
    def arrays(self) -> dict[str, SynapticArray]:
        return {"": self.array}

    def learn(
        self, stream: Stream, partners: Partners | None, generator: torch.Generator | None = None
    ) -> tuple[Telemetry, Callable[[bool], Stream]]:
        assert self.rule is not None, "a layer without a rule was asked to learn"
        presentation = compiled_if_large(_present, stream.positive)(
            stream, partners, self.array.geometry.flattens, self.makes_pairs, self.padding
        )
        u = self.array.mvm(presentation.inputs)
        bias = self.array.bias.clone()
        rule = self.rule
        large = u.numel() > passes.CHUNK_ELEMENTS
        if large and isinstance(rule, GainRule) and not overridden(rule, GainRule, "errors"):
            error, bias_error, found = passes.errors_in_two_passes(u, bias, presentation, rule)
            telemetry = _telemetry(found, bias_error)
        else:
            error, bias_error, telemetry = compiled_if_large(_errors, u)(u, bias, presentation, rule)
        if self.update_positions is not None and error.dim() > 2:
            assert generator is not None, "a layer that learns from random positions was given no generator"
            error = at_random_positions(error, self.update_positions, generator)
        self.array.update(presentation.inputs, error, bias_error)
        return telemetry, lambda negative: self._pass_on(u, bias, presentation, negative)

    def forward(self, stream: Stream, partners: Partners | None = None) -> Stream:
        presentation = _present(
            stream, partners, self.array.geometry.flattens, self.makes_pairs, self.padding
        )
        u = self.array.mvm(presentation.inputs)
        negative = partners is not None or (not self.makes_pairs and stream.negative is not None)
        return self._pass_on(u, self.array.bias, presentation, negative)

    def features(self, output: Tensor) -> Tensor:
        pooled = output if self.readout_pool is None else self.readout_pool(output)
        return standardise(pooled.flatten(1))

    def _pass_on(self, u: Tensor, bias: Tensor, presentation: Presentation, negative: bool) -> Stream:
        transmitted = compiled_if_large(_transmit, u)(u, bias, presentation, self.transmit, negative)
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


def _present(
    stream: Stream, partners: Partners | None, flattens: bool, makes_pairs: bool, padding: int
) -> Presentation:
    """The batch as the array reads it; a dense layer flattens images and maps."""
    if flattens:
        stream = stream.flat()
    return make_pairs(stream, partners, padding) if makes_pairs else pass_pairs(stream, padding)


def _errors(u: Tensor, bias: Tensor, presentation: Presentation, rule: Rule) -> tuple[Tensor, Tensor, Telemetry]:
    """From the MVM to the errors at the MVM and at the bias: unfold the pairs, ask the rule, fold back."""
    positive, negative = presentation.pre_activations(wide(u), bias)
    assert negative is not None
    errors = rule.errors(Signals(presentation.inputs, positive, negative))
    error, bias_error = presentation.fold(errors.positive, errors.negative)
    return error.to(u.dtype), bias_error, _telemetry(errors, bias_error)


def _telemetry(found: Errors | Gains, bias_error: Tensor) -> Telemetry:
    """A unit that was silent in every pair has a bias error of exactly zero."""
    silent = (bias_error == 0).to(bias_error.dtype).mean()
    return Telemetry(found.goodness_positive, found.goodness_negative, found.loss, silent)


def _transmit(u: Tensor, bias: Tensor, presentation: Presentation, transmit: str, negative: bool) -> tuple[Tensor, ...]:
    """What the positive (and the negative) pairs pass on, before pooling."""
    positive, other = presentation.pre_activations(wide(u), bias)
    activation = TRANSMIT[transmit]
    if not negative:
        return (activation(positive).to(u.dtype),)
    assert other is not None
    return activation(positive).to(u.dtype), activation(other).to(u.dtype)
