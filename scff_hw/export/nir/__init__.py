"""A finished run as a NIR graph."""
