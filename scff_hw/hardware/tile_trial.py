"""Set and read back the weights of an aihwkit tile, read it and update it: `python -m scff_hw.hardware.tile_trial`.

Tells a build of aihwkit against the torch that is here from one against another torch, which imports all the same and
then fails or answers wrongly. Ends with code 0 where all is well, else with the error.
"""

from __future__ import annotations


def trial() -> None:
    """Raise whatever a tile that does not work raises."""
    import torch
    from aihwkit.simulator.configs import ConstantStepDevice, FloatingPointRPUConfig, SingleRPUConfig

    # bounds without spread: a device whose bound is drawn low would cut its weight
    pulsed = SingleRPUConfig(device=ConstantStepDevice(w_min_dtod=0.0, w_max_dtod=0.0))
    for config in (FloatingPointRPUConfig(), pulsed):
        tile = config.tile_class(3, 2, config, bias=False)
        wanted = torch.tensor([[0.1, -0.2], [0.15, 0.05], [-0.15, 0.12]])
        tile.set_weights(wanted)
        found, _ = tile.get_weights()
        torch.testing.assert_close(found, wanted)
        tile.joint_forward(torch.ones(1, 2))
        tile.set_learning_rate(0.1)
        tile.update(torch.ones(1, 2), torch.ones(1, 3))


if __name__ == "__main__":
    trial()
