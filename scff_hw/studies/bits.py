"""`bits`: accuracy against the number formats of fixed point, for learning in them and for weights put onto them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

from scff_hw.backends import FloatBackend
from scff_hw.core.network import Network
from scff_hw.report import Panel
from scff_hw.studies.grids import InFixedPoint
from scff_hw.studies.lab import Lab
from scff_hw.studies.options import StudyOptions
from scff_hw.studies.panels import Line, grid_panels
from scff_hw.studies.point import FIXED_POINT, Point, Row
from scff_hw.studies.request import Request, check_learnable
from scff_hw.studies.study import Study
from scff_hw.training.build import Weights, untrained_weights
from scff_hw.training.readout import Readout

if TYPE_CHECKING:
    from scff_hw.backends.fixed import FixedBackend

OF_LEARNING = ("error_bits", "shadow_bits", "update_rounding", "weight_headroom")
"""Keys of a format without bearing on weights that never change."""

EXPLANATION = (
    "How accuracy depends on the number formats of fixed point. SCFF in fixed point: hidden layers that learned in "
    "these integers. Quantised: hidden layers learned in float, then put onto this format once. Untrained: initial "
    "weights on the same format. Weights that learn leave headroom to grow; those that do not fill their range. Each "
    "has the same readout, fitted on what its own hardware answers and then quantised as well; 'readout kept' is the "
    "one fitted in float, quantised. In float: the same network without any rounding, learned and untrained."
)

CURVES = (
    Line("SCFF in float", "scff", 2, {"method": "float"}),
    Line("SCFF in fixed point", "scff", 0, {"method": "scff", "readout": "fitted"}),
    Line("quantised", "positive", 0, {"method": "quantised", "readout": "fitted"}),
    Line("quantised, readout kept", "positive", 1, {"method": "quantised", "readout": "kept"}),
    Line("untrained", "untrained", 0, {"method": "untrained", "readout": "fitted"}),
    Line("untrained in float", "untrained", 2, {"method": "float-untrained"}),
)


class BitsStudy(Study[StudyOptions]):
    """Accuracy over keys of the recipe's section `fixed_point`."""

    name = "bits"
    title = "Bits"
    explanation = EXPLANATION
    hardware = InFixedPoint()
    Options = StudyOptions

    def check(self, request: Request) -> None:
        """Refuse what could not be measured: an optimiser other than plain SGD."""
        from scff_hw.backends.fixed.tensor.array import check_optimisation

        check_learnable(request, check_optimisation)

    def points(self, request: Request) -> list[Point]:
        """Two points for each seed in float, then one for each format, seed and method.

        Formats that differ only in how weights learn are one measurement where they do not.
        """
        found = [request.point(seed, method) for seed in request.seeds for method in ("float", "float-untrained")]
        for variant in request.variants:
            formats = variant.parameters[FIXED_POINT]
            # without a shadow, the weights put there are rounded once
            held = {key: value for key, value in formats.items() if key not in OF_LEARNING} | {"shadow_bits": 0}
            for seed in request.seeds:
                found.append(request.point(seed, "scff", variant))
                for method in ("quantised", "untrained"):
                    found.append(request.point(seed, method, variant, {FIXED_POINT: held}))
        return found

    def measure(self, lab: Lab) -> list[Row]:
        """The rows of one point: accuracy with the readout fitted on that very network, or fitted in float and kept."""
        match lab.method:
            case "float":
                return [lab.fitted_row(lab.float_network())]
            case "float-untrained":
                return [lab.fitted_row(lab.untrained(FloatBackend()))]
            case "scff":
                backend = _backend(lab, untrained_weights(lab.recipe, lab.seed))
                network = lab.learned(backend)
                return [_row(lab, backend, network, "fitted", lab.fit(network))]
            case "untrained":
                backend = _backend(lab, untrained_weights(lab.recipe, lab.seed), learning=False)
                network = lab.untrained(backend)
                return [_row(lab, backend, network, "fitted", lab.fit(network))]
            case _:
                weights = lab.float_weights()
                backend = _backend(lab, weights, learning=False)
                network = lab.with_weights(backend, weights)
                kept = lab.fit(lab.float_network())
                return [
                    _row(lab, backend, network, "kept", kept),
                    _row(lab, backend, network, "fitted", lab.fit(network)),
                ]

    def panels(self, request: Request, rows: Sequence[Row]) -> list[Panel]:
        """Accuracy over the first varied key; a panel for each combination of the others."""
        return grid_panels(request, CURVES, rows)


def _backend(lab: Lab, weights: Weights, learning: bool = True) -> FixedBackend:
    """The fixed backend in the point's formats, their scales chosen for these weights."""
    from scff_hw.training.calibration import calibrated_backend

    samples = lab.samples(lab.recipe.data.learn_split)
    return calibrated_backend(lab.recipe, weights, samples, lab.seed, learning=learning)


def _row(lab: Lab, backend: FixedBackend, network: Network, name: str, readout: Readout) -> Row:
    """The row of a readout in the integers that the hardware holds of it."""
    held = copy.copy(readout)
    held.weight, held.bias = backend.readout(readout.weight, readout.bias)
    return lab.row(name, lab.accuracy(network, held))
