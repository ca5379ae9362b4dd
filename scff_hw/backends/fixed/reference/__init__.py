"""The integer reference, in NumPy: the specification, which other implementations match bit for bit."""
