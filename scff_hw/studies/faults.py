"""`faults`: accuracy loss by broken devices and dead lines, and how much learning on the chip recovers."""

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
"""Default shares of broken devices or lines."""

SHARE = Quantity("fraction", 0, 1)

TIMES = {"untrained": ("before",), "scff": ("before", "after"), "backprop": ("before",)}
"""When devices break, relative to learning, by method."""

EXPLANATION = (
    "How broken devices reduce accuracy. Stuck-on: at their upper bound; stuck-off: at their lower bound, or at 0 if a "
    "weight is a pair of devices; dead lines: that share of the input lines and of the output lines reads 0. Before: "
    "broken from the start, so learning can compensate; after: broken after learning, with the earlier digital readout "
    "kept, or refitted. Untrained: initial weights with the same faults. Backpropagation: the same network, broken "
    "from the start, trained on the same devices by aihwkit's analog SGD."
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
    """The shares of broken devices or lines."""

    rates: str = option(RATES, "shares that are broken", unit="%, ppm", metavar="R1,R2,...")

    @field_validator("rates")
    @classmethod
    def _check(cls, value: str) -> str:
        _shares(value)
        return value

    @property
    def shares(self) -> dict[str, float]:
        """Shares as fractions 0..1 by their text, in the order given."""
        return _shares(self.rates)


class FaultsStudy(Study[FaultsOptions]):
    """Accuracy over the share of stuck devices or dead lines, broken before or after learning."""

    name = "faults"
    title = "Faults"
    explanation = EXPLANATION
    varies = "--rates"
    Options = FaultsOptions

    def check(self, request: Request) -> None:
        """Raise UsageError for a recipe that cannot learn on devices."""
        check_learnable(request, check_optimisation)
        check_profiles(request, check_wires)

    def points(self, request: Request) -> list[Point]:
        """Return, per seed: float, then each kind, rate, method and time; at a rate of 0, kinds share one point."""
        points = []
        for seed in request.seeds:
            points.append(request.point(seed, "float", labels={"fault": "", "fault_rate": "", "when": ""}))
            for kind in KINDS:
                for text, rate in self.options(request).shares.items():
                    for method in request.methods(*TIMES):
                        for when in TIMES[method]:
                            parameters = {"when": when, "kind": kind if rate else KINDS[0], "rate": rate}
                            labels = {"fault": kind, "fault_rate": text, "when": when}
                            points.append(request.point(seed, method, request.variants[0], parameters, labels))
        return points

    def measure(self, lab: Lab) -> list[Row]:
        """Return the rows of one point: with a fitted readout, or after learning with the readout kept and refitted."""
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
        kept_readout = lab.fit(network)
        for array in _faulty(network):
            array.fail()
        return [lab.row("kept", lab.accuracy(network, kept_readout)), lab.fitted_row(network, "refitted")]

    def panels(self, request: Request, rows: Sequence[Row]) -> list[Panel]:
        """Return plots of accuracy over the rate, one panel per kind of fault."""
        panels = []
        shares = tuple(self.options(request).shares)
        for kind in KINDS:
            grid_points = [{"fault": kind, "fault_rate": text} for text in shares]
            title = kind.replace("-", " ")
            panels.append(Panel(title, "share that is broken", shares, curves(CURVES, rows, grid_points)))
        return panels


def impose(network: Network) -> None:
    """Reapply the faults after an update by an optimiser that ignores them."""
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
