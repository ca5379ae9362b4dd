"""Number formats of fixed point, and how they are chosen."""
