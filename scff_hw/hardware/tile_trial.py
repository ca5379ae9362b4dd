"""Tests an aihwkit tile (set and get weights, forward, update): `python -m scff_hw.hardware.tile_trial`.

Detects an aihwkit that was built against another torch: it can be imported, but fails or returns wrong values. The exit
code is 0 if the tile works; otherwise the error is raised.
"""

from __future__ import annotations


def trial() -> None:
    """Test a tile; any error is raised."""
    import torch
    from aihwkit.simulator.configs import ConstantStepDevice, FloatingPointRPUConfig, SingleRPUConfig

    # no spread of the bounds: a low bound would clip its weight
    pulsed = SingleRPUConfig(device=ConstantStepDevice(w_min_dtod=0.0, w_max_dtod=0.0))
    for config in (FloatingPointRPUConfig(), pulsed):
        tile = config.tile_class(3, 2, config, bias=False)
        expected = torch.tensor([[0.1, -0.2], [0.15, 0.05], [-0.15, 0.12]])
        tile.set_weights(expected)
        weights, _ = tile.get_weights()
        torch.testing.assert_close(weights, expected)
        tile.joint_forward(torch.ones(1, 2))
        tile.set_learning_rate(0.1)
        tile.update(torch.ones(1, 2), torch.ones(1, 3))


if __name__ == "__main__":
    trial()
