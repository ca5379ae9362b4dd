"""Values with a unit: `25 uS` in a profile, a number in a fixed unit in Python."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, NoReturn

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

UNITS: dict[str, dict[str, float]] = {
    "w": {"w": 1.0},
    "fraction": {"%": 1e-2, "ppm": 1e-6},
    "S": {"S": 1.0, "mS": 1e-3, "uS": 1e-6, "nS": 1e-9, "pS": 1e-12},
    "s": {
        "s": 1.0,
        "ms": 1e-3,
        "us": 1e-6,
        "ns": 1e-9,
        "min": 60.0,
        "h": 3600.0,
        "day": 86400.0,
        "month": 2_629_800.0,
        "year": 31_557_600.0,
    },
    "V": {"V": 1.0, "mV": 1e-3},
    "ohm": {"ohm": 1.0, "mohm": 1e-3, "kohm": 1e3},
    "J": {"J": 1.0, "uJ": 1e-6, "nJ": 1e-9, "pJ": 1e-12, "fJ": 1e-15},
    "bit": {"bit": 1.0},
    "batch": {"batch": 1.0, "batches": 1.0},
    "pulse": {"pulse": 1.0, "pulses": 1.0},
    "line": {"lines": 1.0, "line": 1.0},
    "B": {"B": 1.0, "KiB": 1024.0, "MiB": 1_048_576.0},
    "Hz": {"Hz": 1.0, "kHz": 1e3, "MHz": 1e6, "GHz": 1e9},
    "cycle": {"cycles": 1.0, "cycle": 1.0},
}
"""Per dimension: allowed units and their size in the unit used in Python (the name of the dimension).

`w` is a weight on the crossbar, in units of the conductance range of a weight of 1.
"""

_DISPLAY_UNITS = {
    "fraction": "%",
    "S": "uS",
    "batch": "batches",
    "pulse": "pulses",
    "line": "lines",
    "B": "KiB",
    "Hz": "MHz",
    "cycle": "cycles",
}
_TEXT = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([A-Za-z%]+)\s*")


@dataclass(frozen=True)
class Quantity:
    """Annotates a float with its dimension and its range in the unit used in Python.

    Attributes:
        dimension: a key of `UNITS`.
        low, high: closed range.
        whole: only whole numbers are allowed.
    """

    dimension: str
    low: float
    high: float
    whole: bool = False

    @property
    def allowed(self) -> str:
        """Allowed values, as a noun phrase."""
        units = ", ".join(UNITS[self.dimension])
        number = "a whole number" if self.whole else "a finite number"
        return f"{number} with its unit ({units}), >= {self.show(self.low)} and <= {self.show(self.high)}"

    def show(self, value: float) -> str:
        """Return `value` as written in a profile, e.g. `25 uS`."""
        unit = _DISPLAY_UNITS.get(self.dimension, self.dimension)
        return f"{value / UNITS[self.dimension][unit]:.12g} {unit}"

    def parse(self, value: Any) -> float:
        """Return `25 uS` as 25e-6; refuse a number without a unit, another unit and a value out of range."""
        match = _TEXT.fullmatch(value) if isinstance(value, str) else None
        if match is None or match[2] not in UNITS[self.dimension]:
            self._refuse(value)
        # twelve digits, as written: 30 % is 0.3, not 0.30000000000000004
        number = float(f"{float(match[1]) * UNITS[self.dimension][match[2]]:.12g}")
        if not self._holds(number):
            self._refuse(value)
        return number

    def hint(self, value: Any) -> str:
        """Return a hint, `"; the unit is missing: 5 % or 0.05 %?"` for a share of 0.05; "" unless `value` is a number.

        Lists the interpretations of the number that are in range; a share may be a fraction or a percentage.
        """
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            return ""
        if math.isnan(number):
            return ""
        units = {size: unit for unit, size in UNITS[self.dimension].items() if unit != "ppm"}
        if unit_name := _DISPLAY_UNITS.get(self.dimension):
            units[UNITS[self.dimension][unit_name]] = unit_name
        readings = {number: self.show(number)} if self.dimension == "fraction" else {}
        for size, unit in units.items():
            readings.setdefault(number * size, f"{number:.12g} {unit}")
        texts = [text for meaning, text in readings.items() if self._holds(meaning)]
        if len(texts) < 2:
            return "; the unit is missing" + "".join(f", write for example: {text}" for text in texts)
        return f"; the unit is missing: {', '.join(texts[:-1])} or {texts[-1]}?"

    def _holds(self, number: float) -> bool:
        return self.low <= number <= self.high and not (self.whole and number % 1)

    def _refuse(self, value: Any) -> NoReturn:
        context = {"allowed": self.allowed, "hint": self.hint(value)}
        raise PydanticCustomError("quantity", "must be {allowed}", context)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.parse, serialization=core_schema.plain_serializer_function_ser_schema(self.show)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        units = "|".join(UNITS[self.dimension])
        unit = _DISPLAY_UNITS.get(self.dimension, self.dimension)
        return {
            "type": "string",
            "pattern": rf"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*({units})\s*$",
            "allowed": self.allowed,
            "unit": {"name": unit, "size": UNITS[self.dimension][unit]},
        }
