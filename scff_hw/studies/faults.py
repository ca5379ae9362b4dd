"""`faults`: what broken devices and dead lines cost, and how much of it learning on the chip routes around."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import field_validator
from pydantic_core import PydanticCustomError

from scff_hw.backends.analog.array import check_optimisation, check_wires
from scff_hw.backends.analog.faulty import KINDS, FaultyArray, FaultyBackend
from scff_hw.core.network import Network
from scff_hw.errors import UsageError
from scff_hw.hardware.quantities import Quantity
from scff_hw.report import Panel
from scff_hw.studies.backprop import learn_backprop_on
from scff_hw.studies.lab import Lab
from scff_hw.studies.options import StudyOptions, option
from scff_hw.studies.panels import Line, curves
from scff_hw.studies.point import Point, Row
from scff_hw.studies.request import Request, check_learnable, check_profiles
from scff_hw.studies.study import Study

RATES = "0 %,1 %,5 %,20 %"
"""Shares of broken devices, or lines, where a study asks for no others."""

SHARE = Quantity("fraction", 0, 1)

TIMES = {"untrained": ("before",), "scff": ("before", "after"), "backprop": ("before",)}
"""When devices break, by method."""

EXPLANATION = (
    "What broken devices cost. Stuck-on: at their upper bound; stuck-off: at their lower bound, where a weight is a "
    "pair at 0; dead lines: that share of the input lines and of the output lines reads 0. Before: broken from the "
    "start, so that learning may route around it; after: broken once learning is over, with the digital readout fitted "
    "before that kept, or fitted again. Untrained: initial weights, broken alike. Backpropagation: the same network, "
    "broken from the start, trained on the same devices by aihwkit's analog SGD."
)

CURVES = (
    Line("SCFF in float, no faults", "scff", 2, {"method": "float"}),
    Line("SCFF, before", "scff", 0, {"method": "scff", "when": "before", "readout": "fitted"}),
    Line("SCFF, after, readout refitted", "positive", 0, {"method": "scff", "when": "after", "readout": "refitted"}),
    Line("SCFF, after, readout kept", "positive", 1, {"method": "scff", "when": "after", "readout": "kept"}),
    Line("backprop, before", "backprop", 0, {"method": "backprop", "when": "before", "readout": "fitted"}),
    Line("untrained", "untrained", 0, {"method": "untrained", "when": "before", "readout": "fitted"}),
)


class FaultsOptions(StudyOptions):
    """Which shares of devices, or lines, are broken."""

    rates: str = option(RATES, "shares that are broken", unit="%, ppm", metavar="R1,R2,...")

    @field_validator("rates")
    @classmethod
    def _check(cls, value: str) -> str:
        _shares(value)
        return value

    @property
    def shares(self) -> dict[str, float]:
        """Fractions by their text, in the order given."""
        return _shares(self.rates)


class FaultsStudy(Study[FaultsOptions]):
    """Accuracy over the share of stuck devices or dead lines, broken before learning or after it."""

    name = "faults"
    title = "Faults"
    explanation = EXPLANATION
    varies = "--rates"
    Options = FaultsOptions

    def check(self, request: Request) -> None:
        """Refuse a recipe that cannot learn on devices."""
        check_learnable(request, check_optimisation)
        check_profiles(request, check_wires)

    def points(self, request: Request) -> list[Point]:
        """For each seed: float, then each kind, rate and method; at a rate of 0, kinds and times share one point."""
        found = []
        for seed in request.seeds:
            found.append(request.point(seed, "float", labels={"fault": "", "fault_rate": "", "when": ""}))
            for kind in KINDS:
                for text, rate in self.options(request).shares.items():
                    for method in request.methods(*TIMES):
                        for when in TIMES[method]:
                            what = {"when": when, "kind": kind if rate else KINDS[0], "rate": rate}
                            labels = {"fault": kind, "fault_rate": text, "when": when}
                            found.append(request.point(seed, method, request.variants[0], what, labels))
        return found

    def measure(self, lab: Lab) -> list[Row]:
        """The rows of one point."""
        if lab.method == "float":
            return [lab.fitted_row(lab.float_network())]
        from_start = lab.parameters["when"] == "before"
        backend = FaultyBackend(lab.profile, lab.seed, lab.parameters["kind"], lab.parameters["rate"], from_start)
        if lab.method == "untrained":
            network = lab.untrained(backend)
        elif lab.method == "backprop":
            network = learn_backprop_on(lab, backend, lab.parameters["backprop_rate"], impose)
        else:
            network = lab.learned(backend)
        if from_start:
            return [lab.fitted_row(network)]
        kept = lab.fit(network)
        for array in _faulty(network):
            array.fail()
        return [lab.row("kept", lab.accuracy(network, kept)), lab.fitted_row(network, "refitted")]

    def panels(self, request: Request, rows: Sequence[Row]) -> list[Panel]:
        """Accuracy over the rate, a panel a kind of fault."""
        found = []
        shares = tuple(self.options(request).shares)
        for kind in KINDS:
            grid_points = [{"fault": kind, "fault_rate": text} for text in shares]
            title = kind.replace("-", " ")
            found.append(Panel(title, "share that is broken", shares, curves(CURVES, rows, grid_points)))
        return found


def impose(network: Network) -> None:
    """Put broken devices back after an update by an optimiser that knows nothing of them."""
    for array in _faulty(network):
        array.impose()


def _faulty(network: Network) -> list[FaultyArray]:
    return [array for array in network.arrays.values() if isinstance(array, FaultyArray)]


def _shares(rates: str) -> dict[str, float]:
    shares: dict[str, float] = {}
    for text in rates.split(","):
        try:
            share = SHARE.parse(text)
        except PydanticCustomError:
            raise UsageError(
                f"--rates must be shares, each {SHARE.allowed}, such as '{RATES}'. "
                f"Got '{text.strip()}' instead{SHARE.hint(text)}."
            ) from None
        shares[SHARE.show(share)] = share
    return shares
