"""One weight matrix on as many crossbar tiles as it needs."""

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

    Partial sums of tiles that share outputs are added digitally. Each tile has devices of its own and, where weights
    are scaled, a scale of its own.

    Attributes:
        tiles: row by row of the matrix; `tiles[o][i]` holds outputs `o` and inputs `i`.
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
        """`scale` says what 1 w on a tile stands for, from its weights; None leaves it to `config`."""
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
        """Put `[outputs, inputs]` on the tiles, at the scale of the first weights, up to the bounds of the devices."""
        for tile, part in self._parts(weight):
            self._put(tile, part)

    @staticmethod
    def _put(tile: Any, part: Tensor) -> None:
        tile.set_weights(part.float() / _scale(tile), apply_weight_scaling=False)

    def _parts(self, weight: Tensor) -> Iterator[tuple[Any, Tensor]]:
        for line, band in zip(self.tiles, weight.split(self.output_sizes), strict=True):
            yield from zip(line, band.split(self.input_sizes, dim=1), strict=True)

    def read(self) -> Tensor:
        """The weights `[outputs, inputs]` as the next MVM uses them, without its noise; a copy."""
        return torch.cat([torch.cat([tile.get_weights()[0] for tile in line], dim=1) for line in self.tiles])

    def mvm(self, x: Tensor) -> Tensor:
        """`[R, inputs] -> [R, outputs]`."""
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
        """`W -= learning_rate * error^T x` by pulses, row after row; then what devices do by themselves, once.

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
        """The change of a mean device's pulse at weight 0, which sets the length of pulse trains; 0 if exact."""
        extra = self.tiles[0][0].tile.dump_extra()
        return float(extra.get("rpu.rpu_device.weight_granularity", [0.0])[0])

    def scales(self) -> list[list[float]]:
        """What a weight of 1 on each tile stands for."""
        return [[_scale(tile) for tile in line] for line in self.tiles]

    def state(self) -> dict[str, Tensor]:
        """Each tile's weights, scale and hidden device parameters."""
        state: dict[str, Tensor] = {}
        for o, line in enumerate(self.tiles):
            for i, tile in enumerate(line):
                state[f"tile.{o}.{i}.weight"] = tile.tile.get_weights().clone()
                state[f"tile.{o}.{i}.hidden"] = tile.tile.get_hidden_parameters().detach().clone()
                if (scales := tile.get_mapping_scales()) is not None:
                    state[f"tile.{o}.{i}.scale"] = scales.detach().clone()
        return state

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from `state()`; names and shapes are checked by the caller."""
        for o, line in enumerate(self.tiles):
            for i, tile in enumerate(line):
                _restore(tile, state[f"tile.{o}.{i}.hidden"], state[f"tile.{o}.{i}.weight"])
                if tile.get_mapping_scales() is not None:
                    tile.set_mapping_scales(state[f"tile.{o}.{i}.scale"])


def device_seed(seed: int, name: str, row: int, column: int) -> int:
    """Decides the devices of `tiles[row][column]` of the array `name`, whether they learn or are programmed."""
    return stream_seed(seed, "device", name, row, column)


def _restore(tile: Any, hidden: Tensor, weight: Tensor) -> None:
    """Give a tile the devices and the weights of another.

    Whatever sets weights or hidden parameters also takes the weights as freshly written, so that a device's noise of
    writing is gone. So what was written is set first, and then, in the memory that Python and the simulator share,
    what is read. A pair keeps no such memory of its two devices: their noise is drawn anew at their next pulse.
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
    """`count` lines over as few tiles of `most` as hold them, as evenly as goes."""
    tiles = 1 if most is None else -(-count // int(most))
    return [count // tiles + (index < count % tiles) for index in range(tiles)]


def _total(parts: list[Tensor]) -> Tensor:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
