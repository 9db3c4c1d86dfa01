"""SciPy LinearOperators: derived from a function at a point, or matrices with a structure."""
