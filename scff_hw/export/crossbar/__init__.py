"""Export of a finished run as a program for an in-memory chip."""
