"""Linear solves with curvature operators."""
