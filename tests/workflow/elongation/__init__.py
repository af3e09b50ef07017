"""The elongation of every object: the largest over the smallest extent of its points. A task, small, to learn from."""
