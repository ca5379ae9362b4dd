"""Export of a finished run as C."""
