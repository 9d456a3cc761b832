"""Destinations of measurements: the run's own log and TensorBoard."""
