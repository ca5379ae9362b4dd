"""Exporters: the networks of finished runs as files that other runtimes and hardware read."""
