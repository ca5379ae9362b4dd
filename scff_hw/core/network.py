"""A stack of layers, with its two operations: learning from a stream, and features for the readout."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

import torch
from torch import Tensor

from scff_hw.core.arrays import SynapticArray
from scff_hw.core.layer import Layer, PairLayer, Telemetry
from scff_hw.core.pairs import Partners, Stream
from scff_hw.errors import UsageError


@dataclass(frozen=True)
class Network:
    """A stack of layers, first to last; layer indices in arguments and results are 0-based."""

    layers: Sequence[Layer]

    @property
    def arrays(self) -> dict[str, SynapticArray]:
        """Arrays of all layers by name; layers count from 1: layers.1, or layers.1.forwards.hidden if recurrent."""
        return {
            f"layers.{number}.{part}".rstrip("."): array
            for number, layer in enumerate(self.layers, start=1)
            for part, array in layer.arrays.items()
        }

    def learn(
        self, stream: Stream, learning: Set[int], generator: torch.Generator, start: int = 0
    ) -> dict[int, Telemetry]:
        """Train on one batch, forward only: update each layer in `learning` once, from local signals.

        Each layer transmits its pre-update output, so one MVM per sample is enough for both update and output.

        Args:
            stream: the input of layer `start`.
            learning: indices of the layers to update; layers before and between them only compute outputs.
            generator: draws the negative partners, and the positions for layers with `update_positions`.
        Returns:
            Telemetry of each updated layer, by index.
        """
        telemetry: dict[int, Telemetry] = {}
        last = max(learning)
        for index in range(start, last + 1):
            layer = self.layers[index]
            negative = index < last and not self.layers[index + 1].makes_pairs
            partners = None
            if layer.makes_pairs and (negative or index in learning):
                partners = Partners.draw(len(stream.positive), generator, stream.positive.device)
            if index in learning:
                telemetry[index], output = layer.learn(stream, partners, generator)
                if index < last:
                    stream = output(negative)
            else:
                stream = layer.forward(stream, partners)
        return telemetry

    def outputs(self, x: Tensor | Stream, count: int | None = None) -> list[Tensor]:
        """Return the output of each of the first `count` layers (None: all) for samples `[N, ...]` or a stream."""
        outputs: list[Tensor] = []
        stream = x if isinstance(x, Stream) else Stream(x)
        for layer in self.layers[:count]:
            stream = layer.forward(stream)
            outputs.append(stream.positive)
        return outputs

    def features(self, x: Tensor | Stream, layers: Sequence[int]) -> Tensor:
        """Return readout features `[N, F]`: those of `layers` (indices), standardised per sample, concatenated."""
        outputs = self.outputs(x, max(layers) + 1)
        return torch.cat([self.layers[k].features(outputs[k]) for k in layers], dim=1)


def feed_forward(network: Network) -> list[PairLayer]:
    """Return the layers of a network whose layers are all feed-forward.

    Raises:
        UsageError: a layer is not feed-forward; the message names the first such layer.
    """
    layers: list[PairLayer] = []
    for number, layer in enumerate(network.layers, start=1):
        if not isinstance(layer, PairLayer):
            raise UsageError(f"All layers must be feed-forward for this. Got a recurrent one, layer {number}, instead.")
        layers.append(layer)
    return layers
