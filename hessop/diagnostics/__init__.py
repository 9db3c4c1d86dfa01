"""What is there to know about a function at a point, and whether it can be trusted."""
