"""Worked examples from lessons on vanishing gradients, in NumPy alone."""
