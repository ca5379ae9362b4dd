"""Self-Contrastive Forward-Forward, readable beside its paper: pairs, goodness, rules, layers and networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scff_hw.lazy import lazy

if TYPE_CHECKING:
    from scff_hw.core.arrays import Metered, Optimisation, OwnArithmetic, SynapticArray
    from scff_hw.core.backend import Backend, Trial
    from scff_hw.core.functional import Pool, standardise, triangle
    from scff_hw.core.geometry import Conv2d, Dense, Geometry
    from scff_hw.core.goodness import Errors, Gains, HasGains, contrast, errors_from_gains
    from scff_hw.core.layer import Layer, PairLayer, Telemetry
    from scff_hw.core.network import Network
    from scff_hw.core.packing import Packing
    from scff_hw.core.pairs import Partners, Presentation, Stream, make_pairs, pass_pairs
    from scff_hw.core.recurrent import Direction, RecurrentLayer, make_directions
    from scff_hw.core.rules import (
        SCFF,
        ForwardForward,
        GainRule,
        LabelledForwardForward,
        Rule,
        Signals,
        register,
        rule_class,
    )
    from scff_hw.core.streaming import Streaming

__all__ = [
    "SCFF",
    "Backend",
    "Conv2d",
    "Dense",
    "Direction",
    "Errors",
    "ForwardForward",
    "GainRule",
    "Gains",
    "Geometry",
    "HasGains",
    "LabelledForwardForward",
    "Layer",
    "Metered",
    "Network",
    "Optimisation",
    "OwnArithmetic",
    "Packing",
    "PairLayer",
    "Partners",
    "Pool",
    "Presentation",
    "RecurrentLayer",
    "Rule",
    "Signals",
    "Stream",
    "Streaming",
    "SynapticArray",
    "Telemetry",
    "Trial",
    "contrast",
    "errors_from_gains",
    "make_directions",
    "make_pairs",
    "pass_pairs",
    "register",
    "rule_class",
    "standardise",
    "triangle",
]

__getattr__ = lazy(
    __name__,
    {
        "scff_hw.core.arrays": ["Metered", "Optimisation", "OwnArithmetic", "SynapticArray"],
        "scff_hw.core.backend": ["Backend", "Trial"],
        "scff_hw.core.functional": ["Pool", "standardise", "triangle"],
        "scff_hw.core.geometry": ["Conv2d", "Dense", "Geometry"],
        "scff_hw.core.goodness": ["Errors", "HasGains", "Gains", "contrast", "errors_from_gains"],
        "scff_hw.core.layer": ["Layer", "PairLayer", "Telemetry"],
        "scff_hw.core.network": ["Network"],
        "scff_hw.core.packing": ["Packing"],
        "scff_hw.core.recurrent": ["Direction", "RecurrentLayer", "make_directions"],
        "scff_hw.core.rules": [
            "ForwardForward",
            "GainRule",
            "LabelledForwardForward",
            "Rule",
            "SCFF",
            "Signals",
            "register",
            "rule_class",
        ],
        "scff_hw.core.streaming": ["Streaming"],
        "scff_hw.core.pairs": ["Partners", "Presentation", "Stream", "make_pairs", "pass_pairs"],
    },
)
