"""Local learning rules: one layer's input and pre-activations in, errors at its pre-activations out.

A rule has no access to weights, other layers, or (unless it is supervised) labels. To add one, subclass `Rule` and
either call `register` or declare an entry point in the group `scff_hw.rules`; recipes then name it under
`training.rule`.
"""

from scff_hw.core.rules.base import GainRule, Rule, Signals, overridden
from scff_hw.core.rules.forward_forward import ForwardForward, LabelledForwardForward, blurred_masks, embed_label
from scff_hw.core.rules.registry import RULES, register, rule_class, rule_names
from scff_hw.core.rules.scff import SCFF
from scff_hw.core.rules.shuffled import ShuffledSCFF

__all__ = [
    "RULES",
    "SCFF",
    "ForwardForward",
    "GainRule",
    "LabelledForwardForward",
    "Rule",
    "ShuffledSCFF",
    "Signals",
    "blurred_masks",
    "embed_label",
    "overridden",
    "register",
    "rule_class",
    "rule_names",
]
