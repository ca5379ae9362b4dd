"""`bits`: accuracy over fixed-point number formats, for learning in them and for weights quantised to them."""

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
"""Format keys that have no effect on weights that never change."""

EXPLANATION = (
    "How accuracy depends on the number formats of fixed point. SCFF in fixed point: hidden layers that learned in "
    "these integers. Quantised: hidden layers that learned in float, then quantised once to this format. Untrained: "
    "initial weights in the same format. Weights that learn have headroom to grow; weights that do not learn use "
    "their full range. Each has the same readout, fitted on the outputs of its own hardware and then quantised; "
    "'readout kept' is the readout fitted in float, quantised. In float: the same network without rounding, learned "
    "and untrained."
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
        """Raise UsageError for an optimiser other than plain SGD."""
        from scff_hw.backends.fixed.tensor.array import check_optimisation

        check_learnable(request, check_optimisation)

    def points(self, request: Request) -> list[Point]:
        """Return two points per seed in float, then one per format, seed and method.

        Formats that differ only in learning are one measurement for methods that do not learn.
        """
        points = [request.point(seed, method) for seed in request.seeds for method in ("float", "float-untrained")]
        for variant in request.variants:
            formats = variant.parameters[FIXED_POINT]
            # without a shadow, weights are rounded only once
            frozen = {key: value for key, value in formats.items() if key not in OF_LEARNING} | {"shadow_bits": 0}
            for seed in request.seeds:
                points.append(request.point(seed, "scff", variant))
                for method in ("quantised", "untrained"):
                    points.append(request.point(seed, method, variant, {FIXED_POINT: frozen}))
        return points

    def measure(self, lab: Lab) -> list[Row]:
        """Return the rows of one point, one per readout.

        The readout is fitted on the network of the point; a quantised network is also measured with the float readout.
        """
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
                float_readout = lab.fit(lab.float_network())
                return [
                    _row(lab, backend, network, "kept", float_readout),
                    _row(lab, backend, network, "fitted", lab.fit(network)),
                ]

    def panels(self, request: Request, rows: Sequence[Row]) -> list[Panel]:
        """Return plots of accuracy over the first varied key, one panel per combination of the other keys' values."""
        return grid_panels(request, CURVES, rows)


def _backend(lab: Lab, weights: Weights, learning: bool = True) -> FixedBackend:
    """Return the fixed backend in the number formats of the point, with scales chosen for `weights`."""
    from scff_hw.training.calibration import calibrated_backend

    samples = lab.samples(lab.recipe.data.learn_split)
    return calibrated_backend(lab.recipe, weights, samples, lab.seed, learning=learning)


def _row(lab: Lab, backend: FixedBackend, network: Network, name: str, readout: Readout) -> Row:
    """Return the row of a network with `readout` quantised to the integers of the backend."""
    quantised = copy.copy(readout)
    quantised.weight, quantised.bias = backend.readout(readout.weight, readout.bias)
    return lab.row(name, lab.accuracy(network, quantised))
