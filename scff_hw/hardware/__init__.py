"""Hardware profiles of analog devices and digital targets: schemas, loader, simulator settings and cost model."""

from scff_hw.hardware.digital import Target
from scff_hw.hardware.loader import (
    dump_profile,
    list_profiles,
    load_hardware,
    load_profile,
    load_target,
    parse_hardware,
    parse_profile,
    profile_names,
    target_names,
)
from scff_hw.hardware.schema import Profile

__all__ = [
    "Profile",
    "Target",
    "dump_profile",
    "list_profiles",
    "load_hardware",
    "load_profile",
    "load_target",
    "parse_hardware",
    "parse_profile",
    "profile_names",
    "target_names",
]
