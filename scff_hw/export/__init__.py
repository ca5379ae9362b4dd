"""Exporters: a finished run for other machines."""
