"""What a curvature operator looks like."""
