"""A function and a point -> closures for linear maps."""
