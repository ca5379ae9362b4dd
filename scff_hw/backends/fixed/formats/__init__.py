"""Fixed-point number formats and their selection."""
