"""`noise`: accuracy against any keys of a hardware profile, for learning on the chip and for weights put onto it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from scff_hw.backends import FloatBackend
from scff_hw.backends.analog import AnalogBackend
from scff_hw.backends.analog.programmed import ProgrammedBackend
from scff_hw.hardware import parse_profile
from scff_hw.report import Curve, Panel
from scff_hw.studies.backprop import learn_backprop_on
from scff_hw.studies.engine import Point, Row
from scff_hw.studies.lab import Lab
from scff_hw.studies.request import Request, check_learnable, take_options
from scff_hw.studies.table import values_of

METHODS = ("float", "untrained", "scff", "programmed", "backprop")

EXPLANATION = (
    "How accuracy depends on the hardware. SCFF on chip: hidden layers that learned on these devices. Programmed: "
    "hidden layers learned in float, then put onto these devices once. Untrained: initial weights on the same devices. "
    "Backpropagation: the same network trained on the same devices by aihwkit's analog SGD. Each has the same digital "
    "readout, fitted on what its own hardware answers; 'readout kept' is the one fitted in float."
)

CURVES = (
    ("SCFF in float", "scff", 2, {"method": "float", "readout": "fitted"}),
    ("SCFF on chip", "scff", 0, {"method": "scff", "readout": "fitted"}),
    ("programmed", "positive", 0, {"method": "programmed", "readout": "fitted"}),
    ("programmed, readout kept", "positive", 1, {"method": "programmed", "readout": "kept"}),
    ("backprop on chip", "backprop", 0, {"method": "backprop", "readout": "fitted"}),
    ("untrained", "untrained", 0, {"method": "untrained", "readout": "fitted"}),
)


def check(request: Request) -> None:
    """Refuse what could not be measured: an optimiser that devices do not have, options of another study."""
    take_options(request, ())
    check_learnable(request)


def points(request: Request) -> list[Point]:
    """A point for each seed in float, then one for each place on the grid, seed and method."""
    found = []
    for seed in request.seeds:
        found.append(_point(request, "float", seed, None))
    for variant in request.variants:
        for seed in request.seeds:
            for method in METHODS[1:]:
                if method != "backprop" or request.backprop_rate is not None:
                    found.append(_point(request, method, seed, variant.index))
    return found


def measure(parameters: dict[str, Any], cache: Path) -> list[Row]:
    """The rows of one point: accuracy with the readout fitted on that very network, or fitted in float and kept."""
    lab = Lab(parameters, cache)
    method = parameters["method"]
    with torch.no_grad():
        if method == "float":
            network = lab.holding(FloatBackend(), lab.float_weights())
            return [{"readout": "fitted", "note": lab.note, "test_accuracy": lab.fitted_accuracy(network)}]
        profile = parse_profile(parameters["profile"], "the profile of the study")
        backend = AnalogBackend(profile, lab.seed)
        if method == "programmed":
            weights = lab.float_weights()
            network = lab.holding(ProgrammedBackend(profile, lab.seed), weights)
            kept = lab.fit(lab.holding(FloatBackend(), weights))
            return [
                {"readout": "kept", "note": lab.note, "test_accuracy": lab.accuracy(network, kept)},
                {"readout": "fitted", "note": lab.note, "test_accuracy": lab.fitted_accuracy(network)},
            ]
        if method == "backprop":
            network = learn_backprop_on(lab, backend, parameters["backprop_rate"])
        else:
            network = lab.untrained(backend) if method == "untrained" else lab.learned(backend)
        return [{"readout": "fitted", "note": lab.note, "test_accuracy": lab.fitted_accuracy(network)}]


def panels(request: Request, rows: Sequence[Row]) -> list[Panel]:
    """Accuracy over the first varied key; a panel for each combination of the others."""
    first, *others = request.keys or ("",)
    chosen = list(dict.fromkeys(tuple(v.values[key] for key in others) for v in request.variants))
    found = []
    for combination in chosen:
        fixed = dict(zip(others, combination, strict=True))
        ticks = tuple(dict.fromkeys(v.values[first] for v in request.variants)) if first else (request.profile.name,)
        curves = []
        for name, role, style, where in CURVES:
            if where["method"] == "float":
                values = (tuple(values_of(rows, **where)),)
            else:
                place = [{first: tick} if first else {} for tick in ticks]
                values = tuple(tuple(values_of(rows, **where, **fixed, **at)) for at in place)
            if any(values):
                curves.append(Curve(name, role, values, style))
        title = ", ".join(f"{key} {value}" for key, value in fixed.items())
        found.append(Panel(title, first or "profile", ticks, tuple(curves), numbers(ticks)))
    return found


def numbers(ticks: Sequence[str]) -> tuple[float, ...] | None:
    """Where values with one unit stand on an axis; None where some are not numbers, or have other units."""
    parts = [tick.partition(" ") for tick in ticks]
    try:
        found = tuple(float(number) for number, _, _ in parts)
    except ValueError:
        return None
    return found if len({unit for _, _, unit in parts}) == 1 and len(set(found)) > 1 else None


def _point(request: Request, method: str, seed: int, variant: int | None) -> Point:
    parameters = request.common(seed) | {"method": method}
    labels: Row = {"method": method, "profile": ""} | dict.fromkeys(request.keys, "") | {"seed": seed}
    if variant is not None:
        chosen = request.variants[variant]
        parameters["profile"] = chosen.text
        labels |= {"profile": request.profile.name} | chosen.values
    if method == "backprop":
        parameters["backprop_rate"] = request.backprop_rate
    return Point("noise", parameters, labels)
