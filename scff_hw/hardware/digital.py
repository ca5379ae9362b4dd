"""The digital target: a microcontroller or an integer ASIC as memory sizes, cycles and energies, validated.

What a network costs on one is worked out in `scff_hw.hardware.costs`; nothing is simulated.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from scff_hw.config.base import Line, refuse
from scff_hw.hardware.quantities import Quantity
from scff_hw.hardware.schema import Document, Section

Bytes = Annotated[float, Quantity("B", 0, 2**32, whole=True)]
Cycles = Annotated[float, Quantity("cycle", 1e-6, 1e4)]
Joules = Annotated[float, Quantity("J", 1e-17, 1e-6)]

ENERGIES = ("per_mac", "per_outer_mac", "per_weight_write")
"""Keys of `energy` that are given together, or left out where `energy.per_cycle` is given."""


class Memory(Section):
    """What holds the network."""

    flash: Bytes = Field(
        description="read-only while the network runs: flash, MRAM, ROM; 0: none, constants are held in RAM too"
    )
    ram: Annotated[float, Quantity("B", 256, 2**32, whole=True)] = Field(description="read and written")
    flash_reserved: Bytes = Field(default=0.0, description="of flash, kept for the program")
    ram_reserved: Bytes = Field(default=0.0, description="of RAM, kept for the stack and the rest of the program")

    @property
    def flash_available(self) -> int:
        """Bytes of flash left for the network."""
        return int(self.flash - self.flash_reserved)

    @property
    def ram_available(self) -> int:
        """Bytes of RAM left for the network."""
        return int(self.ram - self.ram_reserved)

    @model_validator(mode="after")
    def _check(self) -> Memory:
        for key in ("flash", "ram"):
            size, reserved = getattr(self, key), getattr(self, f"{key}_reserved")
            if reserved > size:
                refuse(f"{key}_reserved", f"must be at most {key} = {size:g} B, got {reserved:g} B")
        return self


class Compute(Section):
    """How fast it computes; cycles are means, loops included, and fractions where several are done in one."""

    clock: Annotated[float, Quantity("Hz", 1e4, 1e10)] = Field(description="of the core, or of the array of MACs")
    cycles_per_mac: Cycles = Field(
        description="one multiply-accumulate of a matrix-vector product, 8-bit operands, its loads included"
    )
    cycles_per_outer_mac: Cycles = Field(
        description="one multiply-accumulate of an outer product into a 32-bit accumulator in memory, loads and store "
        "included"
    )
    cycles_per_weight_write: Cycles = Field(
        description="one weight changed, once a batch: scale the accumulator, round, add, saturate, store"
    )


class Energy(Section):
    """What it draws: a mean energy a cycle (a processor), or one for each operation (an array of MACs)."""

    per_cycle: Joules | None = Field(
        default=None, description="supply current at the clock, times supply voltage, over the clock; memories included"
    )
    per_mac: Joules | None = Field(default=None, description="as cycles_per_mac; null: from per_cycle")
    per_outer_mac: Joules | None = Field(default=None, description="as cycles_per_outer_mac; null: from per_cycle")
    per_weight_write: Joules | None = Field(
        default=None, description="as cycles_per_weight_write; null: from per_cycle"
    )

    @model_validator(mode="after")
    def _check(self) -> Energy:
        for key in ENERGIES:
            given = getattr(self, key) is not None
            if self.per_cycle is None and not given:
                refuse(key, "is missing, give per_cycle, or all of " + ", ".join(ENERGIES))
            if self.per_cycle is not None and given:
                refuse(key, "must be left out where per_cycle is given, it follows from the cycles")
        return self


class Target(Document):
    """One microcontroller, or one integer ASIC."""

    kind: Literal["digital"] = Field(description="memories, cycles and energies of integer arithmetic")
    chip: Line = Field(description="the part whose figures these are, one line")
    core: Literal["cortex-m0", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55"] | None = Field(
        default=None, description="processor that `scff-hw export c` compiles for, null: none that it knows"
    )
    memory: Memory = Field(description="what holds the network")
    compute: Compute = Field(description="how fast it computes")
    energy: Energy = Field(description="what it draws")

    @property
    def energy_per_mac_joule(self) -> float:
        """Energy of one multiply-accumulate of a matrix-vector product, in joule."""
        return self._energy(self.energy.per_mac, self.compute.cycles_per_mac)

    @property
    def energy_per_outer_mac_joule(self) -> float:
        """Energy of one multiply-accumulate of an outer product, in joule."""
        return self._energy(self.energy.per_outer_mac, self.compute.cycles_per_outer_mac)

    @property
    def energy_per_weight_write_joule(self) -> float:
        """Energy of changing one weight, in joule."""
        return self._energy(self.energy.per_weight_write, self.compute.cycles_per_weight_write)

    def _energy(self, own: float | None, cycles: float) -> float:
        if own is not None:
            return own
        assert self.energy.per_cycle is not None, "validation lets no target without energies pass"
        return self.energy.per_cycle * cycles
