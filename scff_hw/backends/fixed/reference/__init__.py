"""The integer reference, in NumPy: the specification that other implementations equal bit for bit."""
