"""A linear closure -> a fast linear program."""
