"""One weight matrix, divided over as many crossbar tiles as it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from scff_hw.core.random import stream_seed
from scff_hw.hardware.schema import Profile
from scff_hw.hardware.simulator import rpu_config


class TileGrid:
    """A matrix `[outputs, inputs]` over tiles of at most `rows` inputs and `columns` outputs each.

    Partial sums of tiles that share outputs are added digitally. Each tile has its own devices and, if weights are
    scaled, its own scale.

    Attributes:
        tiles: in row-major order of the matrix; `tiles[o][i]` covers block `o` of outputs and block `i` of inputs.
        compensated: reads of a programmed tile are scaled by its drift compensation; a learning tile has none.
    """

    compensated = False

    def __init__(
        self,
        weight: Tensor,
        profile: Profile,
        seed: int,
        name: str,
        config: Callable[[Profile, int], Any] = rpu_config,
        scale: Callable[[NDArray[Any], Profile], float] | None = None,
    ) -> None:
        """Write `weight` to new tiles; `scale` computes a tile's weight scale from its weights (None: by `config`)."""
        outputs, inputs = weight.shape
        self.input_sizes = _shares(inputs, profile.array.rows)
        self.output_sizes = _shares(outputs, profile.array.columns)
        self.tiles = [
            [
                _tile(columns, rows, config(profile, device_seed(seed, name, o, i)))
                for i, rows in enumerate(self.input_sizes)
            ]
            for o, columns in enumerate(self.output_sizes)
        ]
        for tile, part in self._parts(weight):
            if scale is None:
                tile.set_weights(part.float())
            else:
                tile.set_mapping_scales(torch.tensor([scale(part.float().numpy(), profile)]))
                self._put(tile, part)

    def __iter__(self) -> Iterator[Any]:
        for line in self.tiles:
            yield from line

    def write(self, weight: Tensor) -> None:
        """Write weights `[outputs, inputs]` to the tiles, at the first weights' scale, up to the devices' bounds."""
        for tile, part in self._parts(weight):
            self._put(tile, part)

    @staticmethod
    def _put(tile: Any, part: Tensor) -> None:
        tile.set_weights(part.float() / _scale(tile), apply_weight_scaling=False)

    def _parts(self, weight: Tensor) -> Iterator[tuple[Any, Tensor]]:
        for line, band in zip(self.tiles, weight.split(self.output_sizes), strict=True):
            yield from zip(line, band.split(self.input_sizes, dim=1), strict=True)

    def read(self) -> Tensor:
        """Return a copy of the weights `[outputs, inputs]` of the next MVM, without its noise."""
        return torch.cat([torch.cat([tile.get_weights()[0] for tile in line], dim=1) for line in self.tiles])

    def mvm(self, x: Tensor) -> Tensor:
        """Return `x W^T` `[R, outputs]` for rows `x` `[R, inputs]`."""
        if len(self.input_sizes) == 1:
            outputs = [line[0].joint_forward(x, self.compensated) for line in self.tiles]
        else:
            parts = [part.contiguous() for part in x.split(self.input_sizes, dim=1)]
            outputs = [
                _total([tile.joint_forward(p, self.compensated) for tile, p in zip(line, parts, strict=True)])
                for line in self.tiles
            ]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)

    def update(self, x: Tensor, error: Tensor, learning_rate: float) -> None:
        """Apply `W -= learning_rate * error^T x` by pulses, row after row, then spontaneous device changes, once.

        Args:
            x: `[R, inputs]`.
            error: `[R, outputs]`.
        """
        parts = [x] if len(self.input_sizes) == 1 else [p.contiguous() for p in x.split(self.input_sizes, dim=1)]
        bands = [error] if len(self.tiles) == 1 else [e.contiguous() for e in error.split(self.output_sizes, dim=1)]
        for line, band in zip(self.tiles, bands, strict=True):
            for tile, part in zip(line, parts, strict=True):
                tile.set_learning_rate(learning_rate)
                tile.update(part, band)
                tile.post_update_step()

    def granularity(self) -> float:
        """Return a mean device's weight change per pulse at weight 0, which sets the pulse train length; 0 if exact."""
        extra = self.tiles[0][0].tile.dump_extra()
        return float(extra.get("rpu.rpu_device.weight_granularity", [0.0])[0])

    def scales(self) -> list[list[float]]:
        """Return the scale of each tile: the weight that tile value 1 represents."""
        return [[_scale(tile) for tile in line] for line in self.tiles]

    def state(self) -> dict[str, Tensor]:
        """Return weights, scale and hidden device parameters of each tile, keyed e.g. tile.0.0.weight."""
        state: dict[str, Tensor] = {}
        for o, line in enumerate(self.tiles):
            for i, tile in enumerate(line):
                state[f"tile.{o}.{i}.weight"] = tile.tile.get_weights().clone()
                state[f"tile.{o}.{i}.hidden"] = tile.tile.get_hidden_parameters().detach().clone()
                if (scales := tile.get_mapping_scales()) is not None:
                    state[f"tile.{o}.{i}.scale"] = scales.detach().clone()
        return state

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Restore a state from `state()`; the caller checks names and shapes."""
        for o, line in enumerate(self.tiles):
            for i, tile in enumerate(line):
                _restore(tile, state[f"tile.{o}.{i}.hidden"], state[f"tile.{o}.{i}.weight"])
                if tile.get_mapping_scales() is not None:
                    tile.set_mapping_scales(state[f"tile.{o}.{i}.scale"])


def device_seed(seed: int, name: str, row: int, column: int) -> int:
    """Return the seed of the devices of `tiles[row][column]` of array `name`; the same for learning and programming."""
    return stream_seed(seed, "device", name, row, column)


def _restore(tile: Any, hidden: Tensor, weight: Tensor) -> None:
    """Set the devices (`hidden`) and the weights of a tile to the values of a saved state.

    Setting weights or hidden parameters treats the weights as newly written, which discards the devices' write noise.
    So the written values are set first, then the read values, in the memory shared by Python and the simulator. Pairs
    have no such memory for their two devices: their noise is drawn anew at the next pulse.
    """
    names = tile.tile.get_hidden_parameter_names()
    written = {name: hidden[index] for index, name in enumerate(names) if name.startswith("persistent_weights")}
    if hidden.numel():
        hidden = hidden.clone()
        for name, value in written.items():
            pair = name.replace("persistent_weights", "hidden_weights")
            if pair in names:
                hidden[names.index(pair)] = value
        tile.tile.set_hidden_parameters(hidden)
    if "hidden_weights_0" not in names:
        tile.tile.set_weights(written.get("persistent_weights", weight))
    tile._shared_weight_tensor.copy_(weight)


def _tile(outputs: int, inputs: int, config: Any) -> Any:
    return config.tile_class(outputs, inputs, config, bias=False)


def _scale(tile: Any) -> float:
    scales = tile.get_mapping_scales()
    return 1.0 if scales is None else float(scales.flatten()[0])


def _shares(count: int, most: float | None) -> list[int]:
    """Divide `count` lines evenly over the fewest tiles of at most `most` lines; return the lines per tile."""
    tiles = 1 if most is None else -(-count // int(most))
    return [count // tiles + (index < count % tiles) for index in range(tiles)]


def _total(parts: list[Tensor]) -> Tensor:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
