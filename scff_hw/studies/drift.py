"""`drift`: accuracy of programmed hidden layers over time, and after they learned again on the chip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scff_hw.backends import FloatBackend
from scff_hw.backends.analog import AnalogBackend
from scff_hw.backends.analog.array import check_optimisation, check_wires
from scff_hw.backends.analog.programmed import ProgrammedArray, ProgrammedBackend, clipped_share
from scff_hw.core.network import Network
from scff_hw.errors import UsageError
from scff_hw.hardware import Profile
from scff_hw.hardware.programming import require_drift
from scff_hw.report import Panel
from scff_hw.studies.backprop import learn_backprop_on
from scff_hw.studies.lab import Lab, hidden_weights, weights_of
from scff_hw.studies.options import StudyOptions, option
from scff_hw.studies.panels import Line, curves
from scff_hw.studies.point import Point, Row
from scff_hw.studies.request import Request, check_learnable, check_profiles
from scff_hw.studies.study import Study
from scff_hw.training.build import Weights
from scff_hw.training.readout import Readout

TIMES_S = {"1 s": 1.0, "1 h": 3600.0, "1 day": 86400.0, "1 month": 2_629_800.0, "1 year": 31_557_600.0}
"""Times after programming, in s."""

EXPLANATION = (
    "How drift affects hidden layers that learned on the chip and were then programmed onto it once. Compensated: "
    "each tile's outputs are scaled by one factor, aihwkit's global drift compensation; features are standardised, so "
    "a common factor has little effect, and the loss comes from the spread of drift and from read noise. Re-learned: "
    "the drifted, compensated weights learn again by SCFF on devices that learn, from unlabelled batches. Readout "
    "kept: the digital readout fitted just after programming; refitted: fitted again at that time, which needs "
    "labels. Untrained, backpropagation: the same for initial weights, and for weights trained on the same devices by "
    "aihwkit's analog SGD."
)

CURVES = (
    Line("SCFF in float, no drift", "scff", 2, {"method": "float"}),
    Line("re-learned", "negative", 0, {"method": "scff", "treatment": "re-learned"}),
    Line("compensated", "scff", 0, {"method": "scff", "treatment": "compensated"}),
    Line("not compensated", "scff", 1, {"method": "scff", "treatment": "none"}),
    Line("backprop, compensated", "backprop", 0, {"method": "backprop", "treatment": "compensated"}),
    Line("untrained, compensated", "untrained", 0, {"method": "untrained", "treatment": "compensated"}),
)


class DriftOptions(StudyOptions):
    """Options of re-learning. A rate of 0.03 costs little accuracy on digits and PCM (benchmarks/relearning.py)."""

    batches: int = option(30, "batches of re-learning", unit="batches", ge=1, le=100_000)
    rate: float = option(0.03, "learning rate of re-learning, of the recipe's", unit="fraction", gt=0, le=1000)


class DriftStudy(Study[DriftOptions]):
    """Accuracy over the time since programming: uncompensated, compensated, re-learned."""

    name = "drift"
    title = "Drift"
    explanation = EXPLANATION
    varies = "time"
    Options = DriftOptions

    def check(self, request: Request) -> None:
        """Raise UsageError for a device without a drift model, and for a recipe that cannot learn on devices."""
        assert request.profile is not None, "drift needs devices"
        require_drift(request.profile)
        check_learnable(request, check_optimisation)
        check_profiles(request, check_wires)

    def points(self, request: Request) -> list[Point]:
        """Return, per seed, points for float, for each method and compensation, and for re-learning at each time."""
        options = self.options(request)
        relearning = {"batches": options.batches, "rate": options.rate, "treatment": "re-learned"}
        points: list[Point] = []
        for seed in request.seeds:
            points.append(_point(request, seed, "float", {}))
            for method in request.methods("untrained", "scff", "backprop"):
                for treatment in ("none", "compensated"):
                    points.append(_point(request, seed, method, {"treatment": treatment}))
            for time in TIMES_S:
                points.append(_point(request, seed, "scff", relearning | {"time": time}))
        return points

    def measure(self, lab: Lab) -> list[Row]:
        """Return the rows of one point: per time of the point, one with the readout kept and one with it refitted."""
        if lab.method == "float":
            return [{"time": ""} | lab.fitted_row(lab.float_network(), "refitted")]
        profile, treatment = lab.profile, lab.parameters["treatment"]
        weights = _weights(lab, profile)
        network = lab.with_weights(ProgrammedBackend(profile, lab.seed, compensated=treatment != "none"), weights)
        kept_readout, clipped = lab.fit(network), clipped_share(network)
        if treatment == "re-learned":
            time = lab.parameters["time"]
            drift(network, TIMES_S[time])
            network = lab.resumed(AnalogBackend(profile, lab.seed), weights_of(network))
            lab.relearn(network, lab.parameters["batches"], lab.parameters["rate"], time)
            return _rows(lab, network, kept_readout, time, clipped)
        # "programmed": before any drift; the readout fitted here is the kept one
        rows = [{"time": "programmed"} | lab.row("kept", lab.accuracy(network, kept_readout), clipped)]
        for time, t_s in TIMES_S.items():
            drift(network, t_s)
            rows += _rows(lab, network, kept_readout, time, clipped)
        return rows

    def panels(self, request: Request, rows: Sequence[Row]) -> list[Panel]:
        """Return plots of accuracy over time: one with the readout kept, one with the readout refitted."""
        panels = []
        ticks = tuple(TIMES_S)
        for readout in ("kept", "refitted"):
            grid_points = [{"readout": readout, "time": time} for time in ticks]
            lines = curves(CURVES, rows, grid_points)
            panels.append(Panel(f"Readout {readout}", "time after programming", ticks, lines))
        return panels


def drift(network: Network, t_s: float) -> None:
    """Apply drift to programmed arrays, up to `t_s` seconds after programming.

    Raises:
        UsageError: an array is not programmed; aihwkit would ignore it silently.
    """
    for name, array in network.arrays.items():
        if not isinstance(array, ProgrammedArray):
            raise UsageError(
                f"Only programmed arrays drift. Got {type(array).__name__} in {name} instead; "
                "program its weights first."
            )
        array.drift(t_s)


def _rows(lab: Lab, network: Network, kept_readout: Readout, time: str, clipped: float) -> list[Row]:
    accuracy = lab.accuracy(network, kept_readout)
    rows = [lab.row("kept", accuracy, clipped), lab.fitted_row(network, "refitted", clipped)]
    return [{"time": time} | row for row in rows]


def _weights(lab: Lab, profile: Profile) -> Weights:
    """Return the hidden weights of the point's method; learned ones are cached for the other points of the seed."""
    backend = AnalogBackend(profile, lab.seed)
    match lab.method:
        case "untrained":
            return weights_of(lab.untrained(FloatBackend()))
        case "scff" if (run := lab.run) is not None:
            return hidden_weights(run)
        case "scff":
            return lab.cached(f"scff on {lab.parameters['profile']}", lambda: weights_of(lab.learned(backend)))
        case _:
            rate = lab.parameters["backprop_rate"]
            name = f"backprop {rate} on {lab.parameters['profile']}"
            return lab.cached(name, lambda: weights_of(learn_backprop_on(lab, backend, rate)))


def _point(request: Request, seed: int, method: str, what: dict[str, Any]) -> Point:
    labels = {column: what.get(column, "") for column in ("treatment", "batches", "rate")}
    return request.point(seed, method, None if method == "float" else request.variants[0], what, labels)
