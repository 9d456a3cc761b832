"""Where measurements go: the run's own log and TensorBoard."""
