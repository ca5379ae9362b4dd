"""Export of a finished run as a NIR graph."""
