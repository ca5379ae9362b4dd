"""Targets of exported C: a processor to compile for, and the memories of a chip with that processor."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from scff_hw.errors import UsageError, nearest
from scff_hw.export.c.values import TargetValues
from scff_hw.hardware import Target, load_target


@dataclass(frozen=True)
class CTarget:
    """A processor, and the emulated board that its images run on.

    Attributes:
        flags: options for arm-none-eabi-gcc; empty on the host.
        board: QEMU's machine.
        flash, ram: origin and length on that board.
    """

    flags: str = ""
    board: str = ""
    flash: tuple[str, str] = ("", "")
    ram: tuple[str, str] = ("", "")


ALIGNED = "-mno-unaligned-access"
"""Stops the compiler from merging byte accesses into an access to an unaligned word, which cores may trap."""

_MPS2 = (("0x00000000", "4M"), ("0x20000000", "4M"))

TARGETS = {
    "host": CTarget(),
    # QEMU has no Cortex-M0 board with this much memory; a Cortex-M3 runs every instruction of one
    "cortex-m0": CTarget("-mcpu=cortex-m0 -mthumb", "mps2-an385", *_MPS2),
    "cortex-m3": CTarget(f"-mcpu=cortex-m3 -mthumb {ALIGNED}", "mps2-an385", *_MPS2),
    "cortex-m4": CTarget(f"-mcpu=cortex-m4 -mthumb {ALIGNED}", "mps2-an386", *_MPS2),
    "cortex-m7": CTarget(f"-mcpu=cortex-m7 -mthumb {ALIGNED}", "mps2-an500", *_MPS2),
    "cortex-m33": CTarget(
        f"-mcpu=cortex-m33 -mthumb {ALIGNED}", "mps2-an505", ("0x10000000", "4M"), ("0x38000000", "4M")
    ),
    "cortex-m55": CTarget(
        f"-mcpu=cortex-m55 -mthumb -mfloat-abi=hard {ALIGNED}",
        *("mps3-an547", ("0x00000000", "512K"), ("0x21000000", "2M")),
    ),
}


@dataclass(frozen=True)
class Device:
    """The device of an export.

    Attributes:
        name: name of the target or of its profile.
        processor: one of `TARGETS`.
        profile: with the chip's memories; None on the host, whose memories are not limited.
    """

    name: str
    processor: str
    profile: Target | None = None

    @property
    def build(self) -> CTarget:
        return TARGETS[self.processor]

    @property
    def values(self) -> TargetValues:
        """Template values of the device."""
        return TargetValues(
            name=self.name,
            emulated=self.profile is not None,
            flags=self.build.flags,
            board=self.build.board,
            flash=self.build.flash,
            ram=self.build.ram,
            limits=None if self.profile is None else self.profile.memory,
        )


def device(target: str, overrides: Iterable[str] = ()) -> Device:
    """Return the device of a target's name, or of a profile's file.

    Args:
        target: "host", a shipped profile of a processor, or the path of a profile with `kind: digital`.
        overrides: dotted `key=value` assignments to the profile.

    Raises:
        UsageError: an unknown target, a profile without a `core`, or overrides for the host.
        ProfileError: the profile cannot be used.
    """
    if target == "host":
        if changes := tuple(overrides):
            raise UsageError(
                "--profile-set changes the profile of a target, and host has none. "
                f"Got --profile-set {changes[0]} instead; name a target: --target cortex-m4"
            )
        return Device("host", "host")
    if target not in TARGETS and not Path(target).suffix:
        raise UsageError(
            f"The target must be one of {', '.join(TARGETS)}, or the file of a profile with kind: digital. "
            f"Got '{target}' instead{nearest(target, TARGETS, '.')}"
        )
    profile = load_target(target, overrides)
    if profile.core is None:
        raise UsageError(
            f"The profile of a target to export C for must name its core: {', '.join(list(TARGETS)[1:])}. "
            f"'{profile.name}' does not."
        )
    return Device(profile.name, profile.core, profile)


def check_fits(to: Device, flash: int, ram: int, batch: int) -> None:
    """Refuse a target whose memories are too small for the network.

    Args:
        flash: bytes of constants.
        ram: bytes of the state that learning changes, and of scratch.
        batch: samples per learning batch.

    Raises:
        UsageError: a memory is too small; names the bytes that are missing.
    """
    if to.profile is None:
        return
    memory = to.profile.memory
    lacking = [
        f"{needed - available} bytes of {kind} more than the {available} that are left for the network"
        for kind, needed, available in (
            ("flash", flash, memory.flash_available),
            ("RAM", ram, memory.ram_available),
        )
        if needed > available
    ]
    if lacking:
        raise UsageError(
            f"The target must hold the network while it learns from {batch} samples at once. {to.name} would need "
            f"{' and '.join(lacking)}; choose a smaller --batch, a run with smaller layers or without a shadow, or "
            "a chip with more memory (--profile-set memory.ram=512KiB, or a profile of your own)."
        )
