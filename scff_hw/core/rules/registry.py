"""Learning rules by name: built into scff-hw, registered in this process, or declared by installed packages."""

from __future__ import annotations

from scff_hw.core.rules.base import Rule
from scff_hw.core.rules.forward_forward import ForwardForward, LabelledForwardForward
from scff_hw.core.rules.scff import SCFF
from scff_hw.core.rules.shuffled import ShuffledSCFF
from scff_hw.errors import UsageError
from scff_hw.registry import Registry


def _checked(item: object) -> type[Rule]:
    if not (isinstance(item, type) and issubclass(item, Rule) and isinstance(getattr(item, "name", None), str)):
        raise UsageError(f"A rule must be a subclass of scff_hw.core.Rule with a name. Got {item!r} instead.")
    return item


RULES: Registry[type[Rule]] = Registry("rule", _checked)

for _rule in (SCFF, ShuffledSCFF, ForwardForward, LabelledForwardForward):
    RULES.register(_rule)


def register(rule: type[Rule]) -> type[Rule]:
    """Register a rule by its name; usable as a decorator. Names are unique.

    Raises:
        UsageError: not a rule with a name, or the name is taken by another rule.
    """
    return RULES.register(rule)


def rule_names() -> list[str]:
    """Return the names of the available rules, including those of installed packages."""
    return RULES.names()


def rule_class(name: str) -> type[Rule]:
    """Return the rule class with `name`.

    Raises:
        UsageError: no such rule, or the entry point of that name is not a rule.
        PluginError: the package of the rule cannot be imported.
    """
    return RULES.get(name)
