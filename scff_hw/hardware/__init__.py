"""Hardware as data: validated profiles of devices, their periphery and array, and what the simulator makes of them."""

from scff_hw.hardware.loader import dump_profile, list_profiles, load_profile, parse_profile, profile_names
from scff_hw.hardware.schema import Profile

__all__ = ["Profile", "dump_profile", "list_profiles", "load_profile", "parse_profile", "profile_names"]
