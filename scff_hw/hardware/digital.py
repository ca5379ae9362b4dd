"""Schema of a digital target: memory sizes, cycles and energies of a microcontroller or integer ASIC.

`scff_hw.hardware.costs` computes the cost of a network on it; nothing is simulated.
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
"""Keys of `energy` that are given together, or omitted with `energy.per_cycle`."""


class Memory(Section):
    """Memories of the target."""

    flash: Bytes = Field(
        description="memory that is read-only at run time: flash, MRAM, ROM; 0: none, constants are in RAM"
    )
    ram: Annotated[float, Quantity("B", 256, 2**32, whole=True)] = Field(description="memory that is read and written")
    flash_reserved: Bytes = Field(default=0.0, description="flash reserved for the program")
    ram_reserved: Bytes = Field(default=0.0, description="RAM reserved for the stack and the rest of the program")

    @property
    def flash_available(self) -> int:
        """Bytes of flash available to the network."""
        return int(self.flash - self.flash_reserved)

    @property
    def ram_available(self) -> int:
        """Bytes of RAM available to the network."""
        return int(self.ram - self.ram_reserved)

    @model_validator(mode="after")
    def _check(self) -> Memory:
        for key in ("flash", "ram"):
            size, reserved = getattr(self, key), getattr(self, f"{key}_reserved")
            if reserved > size:
                refuse(f"{key}_reserved", f"must be at most {key} = {size:g} B, got {reserved:g} B")
        return self


class Compute(Section):
    """Speed; cycles are means with loop overhead, and fractions for several operations per cycle."""

    clock: Annotated[float, Quantity("Hz", 1e4, 1e10)] = Field(description="clock of the core, or of the MAC array")
    cycles_per_mac: Cycles = Field(
        description="per multiply-accumulate of a matrix-vector product, 8-bit operands, with loads"
    )
    cycles_per_outer_mac: Cycles = Field(
        description="per multiply-accumulate of an outer product into a 32-bit accumulator in memory, with loads and "
        "store"
    )
    cycles_per_weight_write: Cycles = Field(
        description="per weight change, once per batch: scale the accumulator, round, add, saturate, store"
    )


class Energy(Section):
    """Energy: a mean per cycle (processor), or one per operation (MAC array)."""

    per_cycle: Joules | None = Field(
        default=None, description="supply current times supply voltage, divided by the clock; includes memories"
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
    chip: Line = Field(description="part number of the chip, one line")
    core: Literal["cortex-m0", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55"] | None = Field(
        default=None, description="processor for `scff-hw export c`; null: not supported"
    )
    memory: Memory = Field(description="memories")
    compute: Compute = Field(description="speed")
    energy: Energy = Field(description="energy")

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
