"""`faults`: what broken devices and dead lines cost, and how much of it learning on the chip routes around."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic_core import PydanticCustomError

from scff_hw.backends import FloatBackend
from scff_hw.backends.analog.faulty import KINDS, FaultyArray, FaultyBackend
from scff_hw.core.network import Network
from scff_hw.errors import UsageError
from scff_hw.hardware import parse_profile
from scff_hw.hardware.quantities import Quantity
from scff_hw.report import Curve, Panel
from scff_hw.studies.backprop import learn_backprop_on
from scff_hw.studies.engine import Point, Row
from scff_hw.studies.lab import Lab
from scff_hw.studies.request import Request, check_learnable, take_options
from scff_hw.studies.table import values_of

RATES = "0 %,1 %,5 %,20 %"
"""Shares of broken devices, or lines, where a study asks for no others."""

SHARE = Quantity("fraction", 0, 1)

EXPLANATION = (
    "What broken devices cost. Stuck-on: at their upper bound; stuck-off: at their lower bound, where a weight is a "
    "pair at 0; dead lines: that share of the input lines and of the output lines reads 0. Before: broken from the "
    "start, so that learning may route around it; after: broken once learning is over, with the digital readout fitted "
    "before that kept, or fitted again. Untrained: initial weights, broken alike. Backpropagation: the same network, "
    "broken from the start, trained on the same devices by aihwkit's analog SGD."
)

CURVES = (
    ("SCFF in float, no faults", "scff", 2, {"method": "float"}),
    ("SCFF, before", "scff", 0, {"method": "scff", "when": "before", "readout": "fitted"}),
    ("SCFF, after, readout refitted", "positive", 0, {"method": "scff", "when": "after", "readout": "refitted"}),
    ("SCFF, after, readout kept", "positive", 1, {"method": "scff", "when": "after", "readout": "kept"}),
    ("backprop, before", "backprop", 0, {"method": "backprop", "when": "before", "readout": "fitted"}),
    ("untrained", "untrained", 0, {"method": "untrained", "when": "before", "readout": "fitted"}),
)


def check(request: Request) -> None:
    """Refuse rates that are none, a grid, and a recipe that cannot learn on devices."""
    take_options(request, ("rates",))
    if request.keys:
        raise UsageError(f"The study faults takes no --vary: it varies --rates. Got --vary {request.keys[0]} instead.")
    rates(request)
    check_learnable(request)


def rates(request: Request) -> dict[str, float]:
    """Fractions by their text, in the order asked for.

    Raises:
        UsageError: not shares with a unit.
    """
    found = {}
    for text in str(request.options.get("rates", RATES)).split(","):
        try:
            share = SHARE.parse(text)
        except PydanticCustomError:
            raise UsageError(
                f"--rates must be shares, each {SHARE.allowed}, such as '{RATES}'. Got '{text.strip()}' instead."
            ) from None
        found[SHARE.show(share)] = share
    return found


def points(request: Request) -> list[Point]:
    """For each seed: float, then each kind, rate and method; at a rate of 0, kinds and times are one measurement."""
    found = []
    for seed in request.seeds:
        found.append(_point(request, seed, {"method": "float"}, {}))
        for kind in KINDS:
            for text, rate in rates(request).items():
                for method, when in (
                    ("untrained", "before"),
                    ("scff", "before"),
                    ("scff", "after"),
                    ("backprop", "before"),
                ):
                    if method == "backprop" and request.backprop_rate is None:
                        continue
                    what = {"method": method, "when": when, "kind": kind if rate else KINDS[0], "rate": rate}
                    found.append(_point(request, seed, what, {"fault": kind, "fault_rate": text, "when": when}))
    return found


def measure(parameters: dict[str, Any], cache: Path) -> list[Row]:
    """The rows of one point."""
    lab = Lab(parameters, cache)
    method = parameters["method"]
    with torch.no_grad():
        if method == "float":
            network = lab.holding(FloatBackend(), lab.float_weights())
            return [{"readout": "fitted", "note": lab.note, "test_accuracy": lab.fitted_accuracy(network)}]
        profile = parse_profile(parameters["profile"], "the profile of the study")
        from_start = parameters["when"] == "before"
        backend = FaultyBackend(profile, lab.seed, parameters["kind"], parameters["rate"], from_start)
        if method == "untrained":
            network = lab.untrained(backend)
        elif method == "backprop":
            network = learn_backprop_on(lab, backend, parameters["backprop_rate"], impose)
        else:
            network = lab.learned(backend)
        if from_start:
            return [{"readout": "fitted", "note": lab.note, "test_accuracy": lab.fitted_accuracy(network)}]
        kept = lab.fit(network)
        for array in _faulty(network):
            array.fail()
        return [
            {"readout": "kept", "note": lab.note, "test_accuracy": lab.accuracy(network, kept)},
            {"readout": "refitted", "note": lab.note, "test_accuracy": lab.fitted_accuracy(network)},
        ]


def impose(network: Network) -> None:
    """Put broken devices back after an update by an optimiser that knows nothing of them."""
    for array in _faulty(network):
        array.impose()


def panels(request: Request, rows: Sequence[Row]) -> list[Panel]:
    """Accuracy over the rate, a panel a kind of fault."""
    found = []
    shares = rates(request)
    for kind in KINDS:
        curves = []
        for name, role, style, where in CURVES:
            if where["method"] == "float":
                values = (tuple(values_of(rows, **where)),)
            else:
                values = tuple(tuple(values_of(rows, **where, fault=kind, fault_rate=text)) for text in shares)
            if any(values):
                curves.append(Curve(name, role, values, style))
        found.append(Panel(kind.replace("-", " "), "share that is broken", tuple(shares), tuple(curves)))
    return found


def _faulty(network: Network) -> list[FaultyArray]:
    return [layer.array for layer in network.layers if isinstance(layer.array, FaultyArray)]


def _point(request: Request, seed: int, what: dict[str, Any], labels: dict[str, str]) -> Point:
    parameters = request.common(seed) | what
    row: Row = {"method": what["method"], "fault": "", "fault_rate": "", "when": ""} | labels
    row |= {"profile": "", "seed": seed}
    if what["method"] != "float":
        parameters["profile"] = request.variants[0].text
        row["profile"] = request.profile.name
    if what["method"] == "backprop":
        parameters["backprop_rate"] = request.backprop_rate
    return Point("faults", parameters, row)
