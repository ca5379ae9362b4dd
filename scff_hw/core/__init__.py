"""The algorithm, readable beside the paper: pairs, goodness, rules, layers and networks."""

from scff_hw.core.functional import Pool, standardise, triangle
from scff_hw.core.goodness import Errors, Modulating, Modulation, contrast, goodness, modulated
from scff_hw.core.layer import Layer, PairLayer, Telemetry
from scff_hw.core.network import Network
from scff_hw.core.packing import Packing
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
from scff_hw.core.streams import Partners, Presentation, Stream, make_pairs, pass_pairs

__all__ = [
    "SCFF",
    "Direction",
    "Errors",
    "ForwardForward",
    "GainRule",
    "LabelledForwardForward",
    "Layer",
    "Modulating",
    "Modulation",
    "Network",
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
    "Telemetry",
    "contrast",
    "goodness",
    "make_directions",
    "make_pairs",
    "modulated",
    "pass_pairs",
    "register",
    "rule_class",
    "standardise",
    "triangle",
]
