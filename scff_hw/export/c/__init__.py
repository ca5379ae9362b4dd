"""A finished run as C."""
