"""A layer: pairs at its input, an array from a backend, a rule on its pre-activations, and an output function."""

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
from scff_hw.core.pairs import Partners, Presentation, Stream, make_pairs, pass_pairs
from scff_hw.core.rules import GainRule, Rule, Signals, overridden


@dataclass(frozen=True)
class Telemetry:
    """Metrics of one layer for one batch, 0-d tensors on the layer's device; `dead_units` is a fraction of units."""

    goodness_pos: Tensor
    goodness_neg: Tensor
    loss: Tensor
    dead_units: Tensor


class Layer(Protocol):
    """The interface of a layer: see `PairLayer` (dense, convolutional) and `recurrent.RecurrentLayer`."""

    @property
    def rule(self) -> Rule | None:
        """Learning rule; None for a layer that does not learn."""
        ...

    @property
    def makes_pairs(self) -> bool:
        """True if this layer forms pairs at its input, False if the previous layer passes them."""
        ...

    @property
    def arrays(self) -> Mapping[str, SynapticArray]:
        """Arrays keyed by name suffix, e.g. `forwards.hidden`; a single-array layer uses the key ""."""
        ...

    def learn(
        self, stream: Stream, partners: Partners | None, generator: torch.Generator | None = None
    ) -> tuple[Telemetry, Callable[[bool], Stream]]:
        """Update the weights once from a batch; `partners` is required if the layer makes its pairs.

        `generator` is required if the layer learns from random positions. Returns the telemetry and a function that
        computes the layer's output before the update; pass True to include the negative stream.
        """
        ...

    def forward(self, stream: Stream, partners: Partners | None = None) -> Stream:
        """Return the layer's output without learning; it has a negative stream if `partners` is given."""
        ...

    def features(self, output: Tensor) -> Tensor:
        """Return the readout features `[N, F]` of a layer's output: pooled once more, flattened, standardised."""
        ...


@dataclass(frozen=True)
class PairLayer:
    """A feed-forward layer, dense or convolutional.

    Attributes:
        array: weights and biases, in a backend.
        rule: learning rule; None for a layer that does not learn.
        makes_pairs: True if this layer forms pairs at its input (layer 1, Algorithm 2), False if the previous layer
            passes them (Algorithm 1).
        padding: reflection padding of the input, in positions (convolution only).
        transmit: output function, "triangle" or "relu".
        pool: applied to the output.
        readout_pool: additional pool, applied to the output for readout features only.
        update_positions: number of random positions per sample that a convolution learns from; None for all.
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
        assert self.rule is not None, "learn() needs a layer with a rule"
        presentation = compiled_if_large(_present, stream.positive)(
            stream, partners, self.array.geometry.flattens, self.makes_pairs, self.padding
        )
        u = self.array.mvm(presentation.inputs)
        bias = self.array.bias.clone()
        rule = self.rule
        large = u.numel() > passes.CHUNK_ELEMENTS
        if large and isinstance(rule, GainRule) and not overridden(rule, GainRule, "errors"):
            error, bias_error, gains = passes.errors_in_two_passes(u, bias, presentation, rule)
            telemetry = _telemetry(gains, bias_error)
        else:
            error, bias_error, telemetry = compiled_if_large(_errors, u)(u, bias, presentation, rule)
        if self.update_positions is not None and error.dim() > 2:
            assert generator is not None, "a layer that learns from random positions needs a generator"
            error = at_random_positions(error, self.update_positions, generator)
        self.array.update(presentation.inputs, error, bias_error)
        return telemetry, lambda negative: self._output(u, bias, presentation, negative)

    def inputs(self, stream: Stream) -> Tensor:
        """Return the input of the array at inference: samples standardised, padded, and flattened for a dense array."""
        return _present(stream, None, self.array.geometry.flattens, self.makes_pairs, self.padding).inputs

    def forward(self, stream: Stream, partners: Partners | None = None) -> Stream:
        presentation = _present(
            stream, partners, self.array.geometry.flattens, self.makes_pairs, self.padding
        )
        u = self.array.mvm(presentation.inputs)
        negative = partners is not None or (not self.makes_pairs and stream.negative is not None)
        return self._output(u, self.array.bias, presentation, negative)

    def features(self, output: Tensor) -> Tensor:
        pooled = output if self.readout_pool is None else self.readout_pool(output)
        return standardise(pooled.flatten(1))

    def _output(self, u: Tensor, bias: Tensor, presentation: Presentation, negative: bool) -> Stream:
        transmitted = compiled_if_large(_transmit, u)(u, bias, presentation, self.transmit, negative)
        pool = self.pool or _identity
        return Stream(pool(transmitted[0]), pool(transmitted[1]) if negative else None)


def at_random_positions(error: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return `error` `[R, C, ...]` at `count` random positions per row, scaled by positions / count; 0 elsewhere.

    The mean is preserved. A device array updates one position at a time, so fewer positions take less time there.
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
    """Return the presentation of a batch, the array's input; `flattens` flattens images and feature maps."""
    if flattens:
        stream = stream.flat()
    return make_pairs(stream, partners, padding) if makes_pairs else pass_pairs(stream, padding)


def _errors(u: Tensor, bias: Tensor, presentation: Presentation, rule: Rule) -> tuple[Tensor, Tensor, Telemetry]:
    """Return the errors at `u` (result of the MVM) and at the bias, and telemetry: form pairs, apply the rule, fold."""
    positive, negative = presentation.pre_activations(wide(u), bias)
    assert negative is not None
    errors = rule.errors(Signals(presentation.inputs, positive, negative))
    error, bias_error = presentation.fold(errors.positive, errors.negative)
    return error.to(u.dtype), bias_error, _telemetry(errors, bias_error)


def _telemetry(errors: Errors | Gains, bias_error: Tensor) -> Telemetry:
    """Return the metrics of a batch; a unit is dead (zero output in all pairs) if its bias error is exactly zero."""
    dead = (bias_error == 0).to(bias_error.dtype).mean()
    return Telemetry(errors.goodness_positive, errors.goodness_negative, errors.loss, dead)


def _transmit(u: Tensor, bias: Tensor, presentation: Presentation, transmit: str, negative: bool) -> tuple[Tensor, ...]:
    """Return the outputs of the positive and, if `negative`, the negative pairs, before pooling."""
    positive, other = presentation.pre_activations(wide(u), bias)
    activation = TRANSMIT[transmit]
    if not negative:
        return (activation(positive).to(u.dtype),)
    assert other is not None
    return activation(positive).to(u.dtype), activation(other).to(u.dtype)
