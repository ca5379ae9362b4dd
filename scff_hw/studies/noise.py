"""`noise`: accuracy over any keys of a hardware profile, for learning on the chip and for programmed weights."""

from __future__ import annotations

from collections.abc import Sequence

from scff_hw.backends.analog import AnalogBackend
from scff_hw.backends.analog.array import check_optimisation, check_wires
from scff_hw.backends.analog.programmed import ProgrammedBackend, clipped_share
from scff_hw.report import Panel
from scff_hw.studies.backprop import learn_backprop_on
from scff_hw.studies.lab import Lab
from scff_hw.studies.options import StudyOptions
from scff_hw.studies.panels import Line, grid_panels
from scff_hw.studies.point import Point, Row
from scff_hw.studies.request import Request, check_learnable, check_profiles
from scff_hw.studies.study import Study

METHODS = ("untrained", "scff", "programmed", "backprop")

EXPLANATION = (
    "How accuracy depends on the hardware. SCFF on chip: hidden layers that learned on these devices. Programmed: "
    "hidden layers that learned in float, then programmed onto these devices once. Untrained: initial weights on the "
    "same devices. Backpropagation: the same network trained on the same devices by aihwkit's analog SGD. Each has the "
    "same digital readout, fitted on the outputs of its own hardware; 'readout kept' is the one fitted in float."
)

CURVES = (
    Line("SCFF in float", "scff", 2, {"method": "float", "readout": "fitted"}),
    Line("SCFF on chip", "scff", 0, {"method": "scff", "readout": "fitted"}),
    Line("programmed", "positive", 0, {"method": "programmed", "readout": "fitted"}),
    Line("programmed, readout kept", "positive", 1, {"method": "programmed", "readout": "kept"}),
    Line("backprop on chip", "backprop", 0, {"method": "backprop", "readout": "fitted"}),
    Line("untrained", "untrained", 0, {"method": "untrained", "readout": "fitted"}),
)


class NoiseStudy(Study[StudyOptions]):
    """Accuracy over keys of a hardware profile: weights learned on the devices, programmed, or untrained."""

    name = "noise"
    title = "Noise"
    explanation = EXPLANATION
    Options = StudyOptions

    def check(self, request: Request) -> None:
        """Raise UsageError for an optimiser that devices cannot implement."""
        check_learnable(request, check_optimisation)
        check_profiles(request, check_wires)

    def points(self, request: Request) -> list[Point]:
        """Return one point per seed in float, then one per grid point, seed and method."""
        on_devices = [
            request.point(seed, method, variant)
            for variant in request.variants
            for seed in request.seeds
            for method in request.methods(*METHODS)
        ]
        return [request.point(seed, "float") for seed in request.seeds] + on_devices

    def measure(self, lab: Lab) -> list[Row]:
        """Return the rows of one point, one per readout.

        The readout is fitted on the network of the point; a programmed network is also measured with the float readout.
        """
        if lab.method == "float":
            return [lab.fitted_row(lab.float_network())]
        if lab.method == "programmed":
            network = lab.with_weights(ProgrammedBackend(lab.profile, lab.seed), lab.float_weights())
            float_readout = lab.fit(lab.float_network())
            clipped = clipped_share(network)
            return [
                lab.row("kept", lab.accuracy(network, float_readout), clipped),
                lab.fitted_row(network, clipped=clipped),
            ]
        backend = AnalogBackend(lab.profile, lab.seed)
        if lab.method == "backprop":
            network = learn_backprop_on(lab, backend, lab.parameters["backprop_rate"])
        else:
            network = lab.untrained(backend) if lab.method == "untrained" else lab.learned(backend)
        return [lab.fitted_row(network)]

    def panels(self, request: Request, rows: Sequence[Row]) -> list[Panel]:
        """Return plots of accuracy over the first varied key, one panel per combination of the other keys' values."""
        return grid_panels(request, CURVES, rows)
